"""What the page shows, computed by the public workflows: predictions, maps, adversarial examples, class images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from deepscope import images
from deepscope.app.asked import MOST_KEPT, Choice, Dream, Look
from deepscope.app.pictures import COLOURS, LIMITS, UPLOAD, Held, Shelf, exact, lossless, painted, shown, thumbnails
from deepscope.ascent import Streams
from deepscope.attacks import PGD, AdversarialExamples, attack
from deepscope.attributions import Attribution, Explanations, explain
from deepscope.classification import Classification, classify
from deepscope.errors import DataError, SettingError
from deepscope.models import VisionModel
from deepscope.models.batching import watched
from deepscope.models.capabilities import GRADIENTS, RGB, require, works
from deepscope.names import visible
from deepscope.presenters import attack as attack_presenter
from deepscope.presenters import classify as classify_presenter
from deepscope.presenters import explain as explain_presenter
from deepscope.presenters.attacked import difference
from deepscope.presenters.explained import heat
from deepscope.presenters.shown import by_class
from deepscope.render import page
from deepscope.render.plots import overlay
from deepscope.session import Session
from deepscope.visualization import ClassObjective, climb, preset, suited

_TOP = 5
_THUMBNAILS = 40
_PREFERRED = ("grad-cam", "attention-rollout", "saliency")
"""Methods to begin with, of which the first that works is taken."""
_REMEMBERED = 64
"""Images whose probabilities without strokes are remembered."""
_EVERY = 0.2
"""Seconds between two pictures of a class image that grows."""


@dataclass(frozen=True)
class Studio:
    """Models, images to choose, and images that are held.

    Attributes:
        models: the model, and the one that it is compared with, where there is one.
        choices: files that the page offers, by name.
        session: device and seed; quiet, because the page is what reports.
        shelf: the images that are held.
    """

    models: tuple[VisionModel, ...]
    choices: dict[str, Path]
    session: Session
    shelf: Shelf = field(init=False)
    _before: dict[tuple[str, int], Tensor] = field(init=False, default_factory=dict[tuple[str, int], Tensor])
    _costly: dict[Look, Explanations] = field(init=False, default_factory=dict[Look, Explanations])

    def __post_init__(self) -> None:
        for model in self.models:
            model.require_classes()
            require(model, "serve", RGB)
        at_least = max(model.preprocessing.decode_at_least for model in self.models)
        object.__setattr__(self, "shelf", Shelf(at_least))
        object.__setattr__(self, "session", replace(self.session, quiet=True))

    def about(self) -> dict[str, Any]:
        """What the page is built from: models with their classes and methods, and the names of the choices."""
        models = [self._described(model) for model in self.models]
        return {"models": models, "choices": list(self.choices), "upload": UPLOAD, "brushes": COLOURS}

    def _described(self, model: VisionModel) -> dict[str, Any]:
        working = {name: one for name, one in Attribution.members().items() if works(one, model)}
        methods = [name for name, one in working.items() if not one.costly]
        return {
            "name": visible(model.name),
            "classes": [visible(name) for name in model.categories],
            "methods": methods,
            "costly": [name for name in working if name not in methods],
            "method": next((name for name in _PREFERRED if name in methods), methods[0] if methods else ""),
            "gradients": not model.capabilities.missing(GRADIENTS),
            "several": model.head.kind == "multilabel",
        }

    def warm(self) -> None:
        """Compute once with every model: the first pass takes longer than all later ones."""
        for place, model in enumerate(self.models):
            grey = torch.full((3, *model.preprocessing.size), 0.5)
            if method := self._method(place, ""):
                explain(model, grey, method, top=1, session=self.session)

    def thumbnails(self) -> dict[str, str]:
        """Small pictures of the first choices."""
        return thumbnails(dict(list(self.choices.items())[:_THUMBNAILS]))

    def choose(self, chosen: Choice) -> dict[str, Any]:
        """Hold one of the choices, or find an image that is held. Raises DataError where there is none."""
        if chosen.key:
            return self._opened(self.shelf.get(chosen.key))
        if chosen.name not in self.choices:
            raise DataError(f"there is no image named {visible(chosen.name)}: choose one of the list")
        return self.open(images.content(self.choices[chosen.name], LIMITS.bytes + 1), chosen.name)

    def open(self, content: bytes, name: str) -> dict[str, Any]:
        """Hold an image that was sent. Raises DataError where it is not one, or too large."""
        try:
            return self._opened(self.shelf.add(content, name))
        except images.UnreadableImage as error:
            raise DataError(f"{visible(name)} cannot be opened: {error.reason}") from None

    def _opened(self, held: Held) -> dict[str, Any]:
        width, height = held.image.size
        seen = [model.preprocessing.seen(held.image.size) for model in self.models]
        return {
            "image": held.key,
            "name": held.name,
            "width": width,
            "height": height,
            "picture": shown(held.image),
            "seen": seen,
        }

    def look(self, asked: Look) -> dict[str, Any]:
        """What a model sees in an image, and where; the map of a costly method only where `explain` has computed it."""
        began = time.perf_counter()
        return self._seen(asked, self._explained(asked), began)

    def explain(self, asked: Look, report: Callable[[object], object]) -> dict[str, Any]:
        """The same with the map of a costly method.

        Args:
            asked: the view.
            report: takes {passes, most} after each batch of passes. What it raises ends the computation.
        """
        began, passes, most = time.perf_counter(), 0, 0
        image, method = self._painted(asked), self._method(asked.model, asked.method)
        if method is None or not method.costly:
            raise SettingError("method", "must be one that takes hundreds of passes", got=asked.method)

        def after(rows: int, total: int) -> None:
            nonlocal passes, most
            passes, most = passes + rows, max(most, getattr(method, "samples", total))
            report({"passes": passes, "most": most})

        with watched(after):
            found = self._mapped(asked, image, method)
        self._costly[_map(asked)] = found
        while len(self._costly) > MOST_KEPT:
            del self._costly[next(iter(self._costly))]
        return self._seen(asked, found, began)

    def _seen(self, asked: Look, found: Explanations | Classification, began: float) -> dict[str, Any]:
        model = self._model(asked.model)
        if isinstance(found, Classification):
            probabilities, pixels = by_class(found)[0], found.pixels[0]
            target, layer, signed = int(found.classes[0, 0]), "", False
            if asked.target is not None and self._method(asked.model, asked.method):
                target = asked.target
        else:
            probabilities, pixels = found.photos.probabilities[0], found.photos.pixels[0]
            target, signed = int(found.classes[0]), found.method.signed
            layer = lossless(overlay(heat(found.method, found.maps[0])))
        method = self._method(asked.model, asked.method)
        return {
            "top": _ranked(probabilities, self._untouched(asked, probabilities)),
            "target": target,
            "picture": exact(model.displayed(pixels)),
            "map": layer,
            "signed": signed,
            "costly": method.name if method is not None and method.costly else "",
            "seconds": time.perf_counter() - began,
        }

    def attack(self, asked: Look) -> dict[str, Any]:
        """An adversarial example of an image within a radius, and what it changes."""
        model, found = self._model(asked.model), self._attacked(asked)
        if not len(found):
            return {"refused": found.skipped[0].reason if found.skipped else "there is nothing to attack"}
        original, saved, verdict = found.subjects.levels[0], found.images[0], found.verdicts[0]
        change, factor = difference(model.displayed(original), model.displayed(saved))
        return {
            "success": bool(found.success[0]),
            "before": [[label, float(p)] for label, p in verdict.top_before[:_TOP]],
            "after": [[label, float(p)] for label, p in verdict.top_after[:_TOP]],
            "original": exact(model.displayed(original).float() / 255),
            "picture": exact(model.displayed(saved).float() / 255),
            "difference": lossless(change.pixels),
            "factor": factor,
            "linf": round(verdict.linf * 255),
            "ssim": verdict.ssim,
        }

    def dream(self, asked: Dream) -> Iterator[dict[str, Any]]:
        """The image of a class as it grows: every step is computed, some are returned."""
        model = self._model(asked.model)
        require(model, "visualize", RGB | GRADIENTS)
        recipe = suited(replace(preset("default"), iterations=asked.steps), model)
        target = model.category(asked.target)
        objective = ClassObjective.of(model, torch.tensor([target]), recipe)
        streams = Streams((self.session.rng("visualize", model.categories[target]),))
        last = 0.0
        for frame in climb(objective, recipe, streams):
            said: dict[str, Any] = {"step": frame.step, "steps": asked.steps, "probability": float(frame.watched[0])}
            if time.monotonic() - last >= _EVERY or frame.step == asked.steps:
                said["picture"] = exact(model.displayed(frame.pixels[0]))
                last = time.monotonic()
            yield said

    def export(self, looks: Sequence[Look]) -> str:
        """A self-contained page of some views, computed again."""
        results = []
        for asked in looks:
            held, model = self.shelf.get(asked.image), self._model(asked.model)
            edited = ", edited" if asked.strokes else ""
            name = Path(f"{held.name}{edited}")
            found = self._explained(asked)
            if isinstance(found, Classification):
                result = classify_presenter.present(replace(found, paths=(name,)))
            else:
                result = explain_presenter.present(replace(found, photos=replace(found.photos, paths=(name,))))
            results.append(replace(result, title=f"{name}: {model.name}"))
            if asked.radius:
                changed = self._attacked(asked)
                changed = replace(changed, subjects=replace(changed.subjects, paths=(name,) * len(changed)))
                shown = attack_presenter.present(changed)
                results.append(replace(shown, title=f"{name}: {shown.title}"))
        return page(results, "A session with deepscope")

    def _model(self, place: int) -> VisionModel:
        if place >= len(self.models):
            raise SettingError("model", "is one of those that the server was started with", got=place)
        return self.models[place]

    def _method(self, place: int, name: str) -> Attribution | None:
        """The method of that name, or the first choice; None where the model works with no quick one."""
        name = name or self._described(self._model(place))["method"]
        return Attribution.named(name) if name else None

    def _untouched(self, asked: Look, probabilities: Tensor) -> Tensor:
        """(C,) what the model says of the image without strokes; these are its probabilities where it has none."""
        key = (asked.image, asked.model)
        if not asked.strokes:
            self._before[key] = probabilities
        elif key not in self._before:
            image = self.shelf.get(asked.image).image
            found = classify(self._model(asked.model), image, top=None, keep=0, session=self.session)
            self._before[key] = by_class(found)[0]
        while len(self._before) > _REMEMBERED:
            del self._before[next(iter(self._before))]
        return self._before.get(key, probabilities)

    def _explained(self, asked: Look) -> Explanations | Classification:
        """A costly map is not computed here: nothing would say how far it is."""
        if (known := self._costly.get(_map(asked))) is not None:
            return known
        image, method = self._painted(asked), self._method(asked.model, asked.method)
        if method is None or method.costly:
            return classify(self._model(asked.model), image, top=None, keep=1, session=self.session)
        return self._mapped(asked, image, method)

    def _mapped(self, asked: Look, image: Image, method: Attribution) -> Explanations:
        goal: dict[str, Any] = {"top": 1} if asked.target is None else {"target": asked.target}
        return explain(self._model(asked.model), image, method, keep=1, session=self.session, **goal)

    def _painted(self, asked: Look) -> Image:
        return painted(self.shelf.get(asked.image).image, asked.strokes)

    def _attacked(self, asked: Look) -> AdversarialExamples:
        if not asked.radius:
            raise SettingError("radius", "must be at least 1 grey level")
        image = self._painted(asked)
        method = PGD(radius=asked.radius / 255, steps=10)
        return attack(self._model(asked.model), image, method, target=asked.goal, session=self.session)


def _map(asked: Look) -> Look:
    """What the map of a view depends on."""
    return replace(asked, radius=0, goal=None)


def _ranked(probabilities: Tensor, before: Tensor) -> list[list[float]]:
    """The most probable classes: number, probability, and that of the image without strokes."""
    top = probabilities.topk(min(_TOP, len(probabilities)))
    return [[label, float(value), float(before[label])] for label, value in zip(top.indices.tolist(), top.values)]
