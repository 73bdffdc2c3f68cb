"""The settings that a pair of networks is built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deepscope.errors import DeepscopeError


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """DCGAN (Radford et al. 2015) at any power of two, from 16 to 256 pixels a side.

    Attributes:
        side: of the images, in pixels; digits of 28 x 28 stand in the middle of 32 x 32.
        latent: numbers in z.
        width: channels of the generator's last hidden layer; each layer before has twice as many.
        discriminator_width: channels of the discriminator's first layer; the generator's width where none is given.
        label_in_discriminator: how a conditional discriminator is given y: planes "concatenated" to its first layer
            (Mirza and Osindero 2014), "projected" (Miyato and Koyama 2018), or "absent".
        normalisation: in the discriminator: "batch", "layer", "spectral" (Miyato et al. 2018) of its weights, or
            "none", with first weights that keep the size of what passes through (He et al. 2015); it goes with --r1.
        packing: images that the discriminator judges together (PacGAN, Lin et al. 2018).
        clusters: put the images into so many clusters by how they look, and give the networks these in the place of
            classes: no label is used. 0 does without.
    """

    side: int = 32
    latent: int = 64
    width: int = 64
    discriminator_width: int | None = None
    label_in_discriminator: Literal["concatenated", "projected", "absent"] = "concatenated"
    normalisation: Literal["batch", "layer", "spectral", "none"] = "batch"
    packing: int = 1
    clusters: int = 0

    def require_buildable(self, *, conditional: bool = False) -> None:
        """Raises DeepscopeError where no networks can be built so."""
        if not 16 <= self.side <= 256 or self.side & (self.side - 1):
            raise DeepscopeError(f"--side {self.side} is not 16, 32, 64, 128 or 256")
        if min(self.latent, self.width, self.packing, self.discriminator_width or 1) < 1:
            raise DeepscopeError("--latent, --width, --discriminator-width and --packing are at least 1")
        if self.clusters and conditional:
            raise DeepscopeError("--clusters are for images without classes: leave out --conditional")
        conditional = conditional or self.clusters > 0
        if conditional and self.packing > 1 and self.label_in_discriminator != "absent":
            raise DeepscopeError("--packing judges images together, which have no label in common: leave it out")

    @property
    def stages(self) -> int:
        """How often the generator doubles its first 4 x 4 pixels."""
        return self.side.bit_length() - 3
