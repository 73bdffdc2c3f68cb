"""The settings of the two networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deepscope.errors import SettingError
from deepscope.settings import Count, check

_SIDES = (16, 32, 64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """DCGAN (Radford et al. 2015) for images of 16, 32, 64, 128 or 256 pixels per side.

    Attributes:
        side: of the images, in pixels; digits of 28 x 28 are centred in 32 x 32.
        latent: dimensions of z.
        width: channels of the generator's last hidden layer; each layer before has twice as many.
        discriminator_width: channels of the discriminator's first layer; the generator's width by default.
        label_in_discriminator: how a conditional discriminator receives y: planes "concatenated" to its first layer
            (Mirza and Osindero 2014), "projected" (Miyato and Koyama 2018), or "absent".
        normalisation: in the discriminator: "batch", "layer", "spectral" (Miyato et al. 2018) of its weights, or
            "none", with initial weights that preserve the scale of activations (He et al. 2015); use that with R1.
        packing: images that the discriminator classifies together (PacGAN, Lin et al. 2018).
        clusters: group the images into this many clusters by appearance, and condition on these in place of classes: no
            label is used. A conditional GAN divides each class into this many instead: an image of a class is then made
            for one of its clusters, drawn as often as among the training images. 0 disables it.
    """

    side: int = 32
    latent: Count = 64
    width: Count = 64
    discriminator_width: Count | None = None
    label_in_discriminator: Literal["concatenated", "projected", "absent"] = "concatenated"
    normalisation: Literal["batch", "layer", "spectral", "none"] = "batch"
    packing: Count = 1
    clusters: int = 0

    def require_buildable(self, *, conditional: bool = False) -> None:
        """Raises SettingError where a setting is out of range, or cannot be combined with another one."""
        check(self)
        if self.side not in _SIDES:
            raise SettingError("side", "must be 16, 32, 64, 128 or 256", got=self.side)
        conditional = conditional or self.clusters > 0
        if conditional and self.packing > 1 and self.label_in_discriminator != "absent":
            raise SettingError("packing", "cannot be combined with classes: packed images have no label in common")

    @property
    def stages(self) -> int:
        """How often the generator doubles its first 4 x 4 pixels."""
        return self.side.bit_length() - 3
