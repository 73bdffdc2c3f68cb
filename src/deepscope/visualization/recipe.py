"""`Recipe`: every setting of a class image, and the presets that fill them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Literal

from deepscope.errors import DeepscopeError
from deepscope.settings import Count

CanvasName = Literal["pixels", "fourier"]
MoveName = Literal["normalised", "momentum"]
ObjectiveName = Literal["logit", "log-probability"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a class image is made. What a recipe leaves open (None), the preset decides; what neither says is left out.

    Attributes:
        iterations: gradient steps.
        learning_rate: length (L2 norm) of a step on the canvas; with move "momentum" of the first one.
        canvas: what the ascent moves: the "pixels" (Simonyan et al. 2014), in units of the deviation of photographs, or
            the decorrelated "fourier" spectrum of the image (Olah et al. 2017).
        move: steps of one length along the gradient ("normalised"), or along a running mean of gradients, their
            length falling to zero along a cosine ("momentum").
        objective: what is climbed: the class's "logit" (Simonyan et al. 2014), or its "log-probability".
        rivals: share of the mean of the five highest other logits that is taken from the score, so that the image shows
            what tells the class from those it is taken for.
        l2: weight of the squared L2 norm of the pixels in those units, taken from the score.
        blur_every: steps from one Gaussian blur to the next (Yosinski et al. 2015); 0 for none.
        blur_sigma: standard deviation of that blur, in pixels.
        jitter: random shift before each step, up to so many pixels both ways, wrapping around.
        clip_small_norm: per cent of the pixels, those of smallest norm, set to the mean colour after each step.
        clip_small_contribution: per cent of the pixels, those that matter least to the score to first order, likewise.
        total_variation: weight of the mean squared difference of neighbouring pixels, taken from the score.
        view: side of the random view that the network sees in each step, in pixels; 0 for the whole image as it is.
        zoom: share of the image's side that the narrowest view shows; 1 for always all of it.
        rotation: views are turned by up to so many degrees either way.
        flip: half of the views are mirrored.
        batch_norm: weight of the distance to the statistics that batch normalisation kept from training (DeepInversion,
            Yin et al. 2020), for networks that have it. Statistics are those of about 16 images together, whatever
            the batch size, so an image then depends on those that it is made with: best for many classes at once.
    """

    iterations: Count | None = None
    learning_rate: float | None = None
    canvas: CanvasName | None = None
    move: MoveName | None = None
    objective: ObjectiveName | None = None
    rivals: float | None = None
    l2: float | None = None
    blur_every: int | None = None
    blur_sigma: float | None = None
    jitter: int | None = None
    clip_small_norm: float | None = None
    clip_small_contribution: float | None = None
    total_variation: float | None = None
    view: int | None = None
    zoom: float | None = None
    rotation: float | None = None
    flip: bool | None = None
    batch_norm: float | None = None

    def over(self, base: Recipe) -> Recipe:
        """This recipe, with `base` for what it leaves open.

        Raises:
            DeepscopeError: a setting makes no sense, or two do not go together.
        """
        pairs = ((field.name, getattr(self, field.name), getattr(base, field.name)) for field in fields(Recipe))
        whole = Recipe(**{name: under if own is None else own for name, own, under in pairs})
        whole.check()
        return whole

    def check(self) -> None:
        """Raises DeepscopeError where a setting makes no sense, or two do not go together."""
        for field in fields(Recipe):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not 0 <= value < float("inf"):
                raise DeepscopeError(f"--{field.name.replace('_', '-')} {value} is out of range: it is 0 or more")
        for name in ("clip_small_norm", "clip_small_contribution"):
            if (getattr(self, name) or 0) > 100:
                raise DeepscopeError(f"--{name.replace('_', '-')} is a percentage: 0 to 100")
        if self.zoom is not None and not 0 < self.zoom <= 1:
            raise DeepscopeError(f"--zoom {self.zoom} is out of range: a view shows a share above 0 and up to 1")
        if self.view and self.view < 32:
            raise DeepscopeError(f"--view {self.view} is too small for a network: at least 32 pixels, or 0 for all")
        spatial = self.blur_every or self.clip_small_norm or self.clip_small_contribution
        if self.canvas == "fourier" and spatial:
            raise DeepscopeError("blurring and clipping act on pixels: use them with --canvas pixels")


_SOURCE = Recipe(
    iterations=1000,
    learning_rate=5,
    canvas="pixels",
    move="normalised",
    objective="logit",
    l2=1e-3,
    blur_every=10,
    blur_sigma=0.5,
    jitter=16,
)
_DEFAULT = Recipe(
    iterations=320,
    learning_rate=0.75,
    canvas="fourier",
    move="momentum",
    objective="logit",
    rivals=0.7,
    view=128,
    zoom=0.35,
    rotation=10,
    flip=True,
)

PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        "default": _DEFAULT,
        "statistics": Recipe(iterations=160, batch_norm=3).over(_DEFAULT),
        "source": _SOURCE,
        "source-strong": Recipe(l2=1e-2, blur_every=4, blur_sigma=1.0).over(_SOURCE),
        "unregularised": Recipe(l2=0, blur_every=0).over(_SOURCE),
        "yosinski": Recipe(l2=1e-3, blur_every=4, blur_sigma=0.5, jitter=0, clip_small_norm=50).over(_SOURCE),
    }
)
"""Complete recipes by name. "source" is the method of the report that deepscope follows, "unregularised" the same
without L2 and blur, as the report compares them; "yosinski" one of the settings of Yosinski et al. 2015; "statistics"
is for networks with batch normalisation."""


def preset(name: str) -> Recipe:
    """The preset of that name.

    Raises:
        DeepscopeError: no preset has that name; the message gives all of them.
    """
    if name not in PRESETS:
        raise DeepscopeError(f"no preset is named {name!r}: choose from {', '.join(PRESETS)}")
    return PRESETS[name]
