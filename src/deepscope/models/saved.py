"""A folder that holds a whole classifier: `model.json` says what it is, `weights.safetensors` holds every number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from deepscope.errors import InputError
from deepscope.files import matching, replace_together
from deepscope.models import architectures
from deepscope.models.classifier import Backbone, Classifier, Normalisation, View
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import Entry, ModelSource
from deepscope.models.vision_model import Origin, VisionModel
from deepscope.render.folder import retire
from deepscope.session import Session, first_process, wait_for_others

FORMAT, VERSION = "deepscope-classifier", 1
_DESCRIPTION, _WEIGHTS = "model.json", "weights.safetensors"
_MOST_MOVED = 64


@dataclass(frozen=True)
class SavedFolder(ModelSource):
    """A folder that `transfer fit` wrote, by its path."""

    rank: ClassVar[int] = -1

    def entries(self, session: Session) -> Iterator[Entry]:
        """None: such folders lie where people put them."""
        return iter(())

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The classifier in the folder of that path."""
        return load(Path(name)) if Path(name).is_dir() else None


@dataclass(frozen=True)
class BackboneOrigin:
    """What rebuilds a backbone's network: its architecture (`LIBRARY:NAME`) and the outputs of its class layer."""

    name: str
    architecture: str
    classes: int | None


def save(
    folder: Path,
    classifier: Classifier,
    origins: Sequence[BackboneOrigin],
    preprocessing: Preprocessing,
    categories: Sequence[str],
    *,
    source: str = "",
) -> VisionModel:
    """Write the classifier so that it opens anywhere, and open it.

    A save that is killed leaves the earlier classifier or the new one. Under `torchrun` the first process writes.

    Args:
        folder: made where it does not exist; an earlier classifier in it is replaced, and its result removed.
        classifier: on any device.
        origins: one for each backbone.
        preprocessing: makes pixels from images; each backbone normalises them itself.
        categories: the user's classes.
        source: in words, what it was fitted on.

    Raises:
        InputError: a backbone has no architecture that a name can rebuild, or the folder cannot be written to.
    """
    for origin in origins:
        if not origin.architecture:
            raise InputError(
                f"{origin.name} cannot be saved: its network has no architecture by name, "
                f"so nothing could rebuild it; use a model of torchvision or timm"
            )
    weights = {key: value.detach().cpu().contiguous() for key, value in classifier.state_dict().items()}
    backbones: list[Any] = list(classifier.backbones)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "source": source,
        "categories": list(categories),
        "preprocessing": json.loads(preprocessing.to_json()),
        "backbones": [
            {
                **asdict(origin),
                "mean": backbone.mean.flatten().tolist(),
                "std": backbone.std.flatten().tolist(),
                "layers": [list(layer) for layer in backbone.layers],
                "views": [view.key for view in backbone.views],
            }
            for origin, backbone in zip(origins, backbones, strict=True)
        ],
        "normalisations": [module.kind for module in classifier.normalisations],
        "head": [classifier.head.out_features, classifier.head.in_features],
    }
    if first_process():
        try:
            replace_together(
                folder / _WEIGHTS,
                lambda path: path.write_bytes(safetensors.torch.save(weights)),
                folder / _DESCRIPTION,
                lambda digest: (
                    json.dumps({**description, "weights_sha256": digest}, indent=1, ensure_ascii=False) + "\n"
                ),
                retire=lambda: retire(folder),
            )
        except OSError as error:
            raise InputError(
                f"the classifier cannot be written to {folder} ({error.strerror}): free some space"
            ) from None
    wait_for_others()
    return load(folder)


def load(folder: Path) -> VisionModel:
    """The classifier in a folder, as a model like any other.

    Raises:
        InputError: no such classifier, one of a newer version, or files that are missing, damaged or changed.
    """
    description = _description(folder)
    digest = description.get("weights_sha256")
    path = matching(folder / _WEIGHTS, digest)
    if path is None and not (folder / _WEIGHTS).is_file():
        raise InputError(f"{folder} is not whole: {_WEIGHTS} is missing; copy the folder again, or fit it again")
    if path is None:
        raise InputError(
            f"{folder / _WEIGHTS} is not the file that was saved: its SHA-256 differs from {_DESCRIPTION}'s"
        )
    try:
        weights = safetensors.torch.load_file(path)
        network, aliases = _rebuild(description, weights)
        return VisionModel(
            name=str(folder),
            network=network,
            preprocessing=_preprocessing(description),
            categories=tuple(str(name) for name in description["categories"]),
            aliases=aliases,
            origin=Origin(str(description["source"]), str(digest)),
        )
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{folder / _DESCRIPTION} does not describe its weights ({reason}): fit it again") from None


def _description(folder: Path) -> dict[str, Any]:
    path = folder / _DESCRIPTION
    if not path.is_file():
        raise InputError(f"{folder} holds no saved classifier: {_DESCRIPTION} is missing; `transfer fit` writes one")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}): copy the folder again, or fit it again") from None
    version = description.get("version") if isinstance(description, dict) else None
    if not isinstance(version, int) or description.get("format") != FORMAT:
        raise InputError(f"{path} describes no classifier of deepscope: name a folder that `transfer fit` wrote")
    if version > VERSION:
        raise InputError(
            f"{folder} was saved by a newer deepscope (format {version}, {VERSION} here): upgrade deepscope"
        )
    return description


def _preprocessing(description: dict[str, Any]) -> Preprocessing:
    """Geometry as described; mean 0 and deviation 1, because the backbones normalise."""
    return Preprocessing.from_json(json.dumps({**description["preprocessing"], "mean": [0.0] * 3, "std": [1.0] * 3}))


def _rebuild(description: dict[str, Any], weights: dict[str, Tensor]) -> tuple[Classifier, dict[str, str]]:
    backbones, aliases = [], {}
    for number, about in enumerate(description["backbones"]):
        spec = architectures.resolve(about["architecture"])
        prefix = f"backbones.{number}.network."
        network = architectures.assemble(spec, _below(weights, prefix), classes=about["classes"], partial=True)
        views = [_view(view) for view in about["views"]]
        layers = [(name, pooling) for name, pooling in about["layers"]]
        backbones.append(Backbone(network, about["mean"], about["std"], layers, views))
        for alias, layer in architectures.publication_aliases(spec).items():
            aliases.setdefault(alias, prefix + layer)
    normalisations = [
        Normalisation(kind, **_below(weights, f"normalisations.{number}."))
        for number, kind in enumerate(description["normalisations"])
    ]
    blocks = sum(len(backbone.layers) for backbone in backbones)
    if not 1 <= blocks == len(normalisations):
        raise ValueError(f"{len(normalisations)} normalisations for {blocks} layers")
    classes, features = description["head"]
    if classes != len(description["categories"]):
        raise ValueError(f"{classes} outputs for {len(description['categories'])} categories")
    head = nn.Linear(features, classes)
    head.load_state_dict(_below(weights, "head."))
    return Classifier(backbones, normalisations, head), aliases


def _view(about: dict[str, Any]) -> View:
    """Moves are bounded: a description from outside decides how much memory they take."""
    down, right = int(about.get("down", 0)), int(about.get("right", 0))
    if max(abs(down), abs(right)) > _MOST_MOVED:
        raise ValueError(f"a view moved by {down} and {right} pixels")
    return View(bool(about["mirrored"]), float(about["scale"]), down, right, bool(about.get("negative", False)))


def _below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
