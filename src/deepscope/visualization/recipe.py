"""`Recipe`: every setting of a class image, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, TypeAlias

from deepscope.errors import SettingError
from deepscope.session import Session
from deepscope.settings import Count, PositiveShare, Range, check

CanvasName = Literal["pixels", "fourier"]
UpdateRuleName = Literal["normalised", "momentum"]
ObjectiveName = Literal["logit", "log-probability"]
Percentage: TypeAlias = Annotated[float, Range(most=100)]

_SMALLEST_VIEW = 32


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a class image is made. The defaults are those of the preset "default".

    Attributes:
        iterations: gradient steps.
        learning_rate: length (L2 norm) of a step on the canvas; with update rule "momentum" of the first step.
        canvas: what the ascent changes: the "pixels" (Simonyan et al. 2014), in units of the standard deviation of
            photographs, or the decorrelated "fourier" spectrum of the image (Olah et al. 2017).
        update_rule: steps of constant length along the gradient ("normalised"), or along a running mean of gradients,
            with lengths that fall to zero along a cosine ("momentum").
        objective: what is maximised: the class's "logit" (Simonyan et al. 2014), or its "log-probability".
        competing_classes: weight of the mean of the five highest other logits, subtracted from the score. The image
            then shows what distinguishes the class from those it is confused with.
        l2: weight of the squared L2 norm of the pixels in the units above, subtracted from the score.
        blur_every: steps between Gaussian blurs (Yosinski et al. 2015); 0 for none.
        blur_sigma: standard deviation of the blur, in pixels.
        jitter: the largest random shift before each step, in pixels, in both directions; shifts wrap around.
        clip_small_norm: percentage of the pixels, those of smallest norm, set to the mean colour after each step.
        clip_small_contribution: percentage of the pixels, those that contribute least to the score to first order, set
            to the mean colour after each step.
        total_variation: weight of the mean squared difference of neighbouring pixels, subtracted from the score.
        view: side of the random view that the network sees in each step, in pixels; 0 for the whole image as it is.
        zoom: share of the image's side that the narrowest view shows; 1 for always all of it.
        rotation: the largest rotation of a view, in degrees, in both directions.
        flip: mirror half of the views.
        batch_norm: weight of the distance to the statistics that batch normalisation kept from training (DeepInversion,
            Yin et al. 2020), for networks that have it. Statistics are computed over about 16 images together, whatever
            the batch size, so each image depends on the images made with it. Best for many classes at once.
    """

    renamed: ClassVar[Mapping[str, str]] = {"move": "update_rule", "rivals": "competing_classes"}

    iterations: Count = 320
    learning_rate: float = 0.75
    canvas: CanvasName = "fourier"
    update_rule: UpdateRuleName = "momentum"
    objective: ObjectiveName = "logit"
    competing_classes: float = 0.7
    l2: float = 0
    blur_every: int = 0
    blur_sigma: float = 0.5
    jitter: int = 0
    clip_small_norm: Percentage = 0
    clip_small_contribution: Percentage = 0
    total_variation: float = 0
    view: int = 128
    zoom: PositiveShare = 0.35
    rotation: float = 10
    flip: bool = True
    batch_norm: float = 0

    def __post_init__(self) -> None:
        """Raises SettingError where a setting is out of range, or two cannot be combined."""
        check(self)
        if 0 < self.view < _SMALLEST_VIEW:
            raise SettingError(
                "view", f"is too small for a network: give at least {_SMALLEST_VIEW} pixels, or 0", got=self.view
            )
        for name in ("blur_every", "clip_small_norm", "clip_small_contribution"):
            if self.canvas == "fourier" and getattr(self, name):
                raise SettingError(name, "acts on pixels: set {canvas} to pixels", got=getattr(self, name))


_DEFAULT = Recipe()
_REPORT = Recipe(
    iterations=1000,
    learning_rate=5,
    canvas="pixels",
    update_rule="normalised",
    competing_classes=0,
    l2=1e-3,
    blur_every=10,
    jitter=16,
    view=0,
    zoom=1,
    rotation=0,
    flip=False,
)

PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        "default": _DEFAULT,
        "statistics": replace(_DEFAULT, iterations=160, batch_norm=3),
        "report": _REPORT,
        "report-strong": replace(_REPORT, l2=1e-2, blur_every=4, blur_sigma=1.0),
        "unregularised": replace(_REPORT, l2=0, blur_every=0),
        "yosinski": replace(_REPORT, blur_every=4, jitter=0, clip_small_norm=50),
    }
)
"""Recipes by name. "report" is the method of the report (Delefosse and Vin); "unregularised" is the same without L2 and
blur, which the report compares it with; "yosinski" is one of the settings of Yosinski et al. 2015; "statistics" is for
networks with batch normalisation."""

_RENAMED = {"source": "report", "source-strong": "report-strong"}
"""Names of the last release, which still work."""


def preset(name: str, session: Session | None = None) -> Recipe:
    """The preset of that name.

    Args:
        name: one of `PRESETS`.
        session: is told where the name is an old one.

    Raises:
        SettingError: no preset has that name; the message lists them.
    """
    if name in _RENAMED:
        old, name = name, _RENAMED[name]
        if session:
            session.note(f"preset {old} is now called {name}; the old name will go in the next release")
    if name not in PRESETS:
        raise SettingError("preset", f"must be one of {', '.join(PRESETS)}", got=name)
    return PRESETS[name]
