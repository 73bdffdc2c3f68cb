"""The second page of `deepscope serve`: directions of a generator's z, and the images along them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from deepscope.app.asked import Move
from deepscope.app.page import SERVER, policy
from deepscope.app.pictures import lossless
from deepscope.errors import SettingError
from deepscope.gans import find_directions, latent_directions
from deepscope.gans.along import TITLE, places, square, titles
from deepscope.names import visible
from deepscope.render import sliders
from deepscope.render.templates import Templates
from deepscope.session import Session

_LIVE = Templates(Path(__file__).parent / "live")
_REACH, _STEPS, _SAMPLES = 3.0, 61, 16
"""How far a slider moves z in standard deviations, its places, and the images that move together."""


class LatentStudio:
    """A generator, its directions, and the page on which sliders move its z.

    Args:
        gan: the folder that `gan train` wrote.
        session: device, and the seed of the directions; quiet, because the page is what reports.

    Raises:
        FileError: the folder holds no generator, or a damaged one.
    """

    def __init__(self, gan: Path, session: Session) -> None:
        self._session = replace(session, quiet=True, out=None)
        self._found = find_directions(gan, session=self._session)
        self._offsets = torch.linspace(-_REACH, _REACH, _STEPS)
        self._offsets[_STEPS // 2] = 0
        classes = self._found.gan.classes
        names = [visible(name) for name in classes]
        self._labels = dict(zip(names, classes, strict=True))
        live = sliders.Live(SERVER + _LIVE.text("live.js"), names)
        moved = [
            sliders.Slider(name, said, places(self._offsets))
            for name, said in titles(self._found.method, self._found.shares)
        ]
        text = (
            f"{_SAMPLES} images of {self._found.gan.name}. The sliders move the z of all images along directions that "
            "were found without labels, in standard deviations of z."
        )
        self.html = sliders.page(TITLE, text, moved, live)
        self.policy = policy(sliders.script(live), f"\n{sliders.style()}")

    @property
    def name(self) -> str:
        """Of the generator."""
        return self._found.gan.name

    @property
    def fingerprint(self) -> str:
        """Of the generator's weights."""
        return self._found.gan.fingerprint

    @property
    def directions(self) -> int:
        """How many there are, and so how many sliders."""
        return len(self._found.vectors)

    def warm(self) -> None:
        """Generate once: the first pass takes longer than all later ones."""
        self.move(Move((_STEPS // 2,) * self.directions))

    def move(self, asked: Move) -> dict[str, str]:
        """The sheet of images at some places of the sliders. Raises SettingError where there are no such places."""
        images = self._found.moved(
            self._at(asked), samples=_SAMPLES, label=self._label(asked), session=self._seeded(asked)
        )
        return {"picture": lossless(square(images))}

    def export(self, asked: Move) -> str:
        """A self-contained page whose sliders start at these places, one of them moving at a time."""
        found = latent_directions(
            self._found.gan,
            count=self.directions,
            samples=_SAMPLES,
            reach=_REACH,
            label=self._label(asked),
            at=self._at(asked),
            session=self._seeded(asked),
        )
        return found.page()

    def _at(self, asked: Move) -> list[float]:
        if len(asked.at) != self.directions or max(asked.at) >= _STEPS:
            problem = f"must be {self.directions} places of sliders, from 0 to {_STEPS - 1}"
            raise SettingError("at", problem)
        return self._offsets[list(asked.at)].tolist()

    def _label(self, asked: Move) -> str | None:
        """The class by the name that the page shows."""
        return None if asked.label is None else self._labels.get(asked.label, asked.label)

    def _seeded(self, asked: Move) -> Session:
        return replace(self._session, seed=asked.seed)
