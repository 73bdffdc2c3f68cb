"""A folder that holds a whole classifier: `model.json` says what it is, `weights.safetensors` holds every number."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from deepscope.devices import wait_for_others
from deepscope.errors import DeepscopeError, FileError, UnsupportedError, unknown
from deepscope.models import architectures, switched
from deepscope.models.classifier import Backbone, BackboneOrigin, Classifier, Normalisation
from deepscope.models.description import Description, described
from deepscope.models.heads import Head
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import ModelSource, exists
from deepscope.models.stored import Format
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session

CLASSIFIER = Format("classifier", "model.json", "weights.safetensors", made_by="transfer fit")
ONNX = "model.onnx"
"""Where `transfer export` writes by default; the file names the fingerprint of its model."""


@dataclass(frozen=True)
class SavedFolder(ModelSource):
    """A folder that `transfer fit` wrote, by its path."""

    rank: ClassVar[int] = -1
    patterns: ClassVar[tuple[str, ...]] = (f"*/{CLASSIFIER.description}",)

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The classifier in the folder of that path."""
        parts = (Path(name) / part for part in (CLASSIFIER.description, CLASSIFIER.weights))
        return load(Path(name)) if any(map(exists, parts)) else None


def require_architectures(origins: Sequence[BackboneOrigin]) -> None:
    """Raises UnsupportedError where a backbone has no architecture that a name can rebuild: `save` would refuse it."""
    for origin in origins:
        if not origin.architecture:
            raise UnsupportedError(
                f"{origin.name} cannot be saved: its network has no architecture by name, so nothing could rebuild it; "
                f"use a model of torchvision or timm",
                what="saving",
            )


def save(
    folder: Path,
    classifier: Classifier,
    origins: Sequence[BackboneOrigin],
    preprocessing: Preprocessing,
    categories: Sequence[str],
    *,
    source: str = "",
    abstain_below: float = 0.0,
) -> VisionModel:
    """Write the classifier so that it opens anywhere, and open it.

    A save that is killed leaves the earlier classifier or the new one. Under `torchrun` the first process writes.

    Args:
        folder: made where it does not exist; an earlier classifier in it is replaced, its result and ONNX file removed.
        classifier: on any device.
        origins: one for each backbone.
        preprocessing: makes pixels from images; each backbone normalises them itself.
        categories: the user's classes.
        source: in words, what it was fitted on.
        abstain_below: the confidence below which it gives no answer.

    Raises:
        UnsupportedError: a backbone has no architecture that a name can rebuild.
        FileError: the folder cannot be written to.
    """
    description = _description(classifier, origins, preprocessing, categories, source=source)
    if abstain_below:
        description["abstain_below"] = abstain_below
    try:
        CLASSIFIER.write(folder, classifier.state_dict(), description, forget=lambda: _forget_export(folder))
    except OSError as error:
        raise FileError(
            f"the classifier cannot be written to {folder} ({error.strerror}): free some space", path=folder
        ) from None
    wait_for_others()
    return load(folder)


def rebuilt(
    classifier: Classifier, origins: Sequence[BackboneOrigin], preprocessing: Preprocessing, categories: Sequence[str]
) -> Classifier:
    """The classifier as `load` would build it from what `save` writes.

    Raises:
        DeepscopeError: a backbone has no architecture that a name can rebuild.
        ValueError: an architecture is another one than the network's.
    """
    about = _description(classifier, origins, preprocessing, categories)
    weights = {key: value.detach().cpu() for key, value in classifier.state_dict().items()}
    return _rebuild(described({**about, "weights_sha256": ""}), weights)[0].eval()


def _description(
    classifier: Classifier,
    origins: Sequence[BackboneOrigin],
    preprocessing: Preprocessing,
    categories: Sequence[str],
    *,
    source: str = "",
) -> dict[str, Any]:
    require_architectures(origins)
    backbones: list[Any] = list(classifier.backbones)
    return {
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
        **({} if classifier.fit is None else {"fit": asdict(classifier.fit)}),
    }


def _forget_export(folder: Path) -> None:
    """Remove the ONNX file of the classifier that is about to be replaced."""
    try:
        earlier = CLASSIFIER.describe(folder).get("weights_sha256")
    except DeepscopeError:
        return
    exported = folder / ONNX
    if exported.is_file() and exported.stat().st_size and isinstance(earlier, str):
        with exported.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = content.find(earlier.encode()) >= 0
        if found:  # else it is another program's
            exported.unlink()


def load(folder: Path) -> VisionModel:
    """The classifier in a folder, as a model like any other.

    Raises:
        FileError: no such classifier, one of a newer version, or files that are missing, damaged or changed.
    """
    said, weights = CLASSIFIER.read(folder)
    with CLASSIFIER.building(folder):
        about = described(said)
        network, aliases = _rebuild(about, weights)
        return VisionModel(
            name=str(folder),
            network=network,
            preprocessing=about.preprocessing,
            categories=about.categories,
            aliases=aliases,
            origin=Origin(about.source, about.weights_sha256),
            head=Head(abstain_below=about.abstain_below),
        )


def _rebuild(about: Description, weights: dict[str, Tensor]) -> tuple[Classifier, dict[str, str]]:
    """The network, and the layers' names in publications. Shapes are compared before anything is allocated."""
    held = weights.get("head.weight")
    if held is None or tuple(held.shape) != about.head:
        shape = None if held is None else tuple(held.shape)
        raise ValueError(f"a head of {about.head[0]} x {about.head[1]}, and weights for {shape}")
    backbones, aliases = [], {}
    for number, backbone in enumerate(about.backbones):
        spec = architectures.resolve(backbone.architecture)
        prefix = f"backbones.{number}.network."
        own, second = switched.plain(_below(weights, prefix))
        network = architectures.assemble(spec, own, classes=backbone.classes, partial=True)
        switched.attach(network, second)
        known = dict(network.named_modules())
        for name, _ in backbone.layers:
            if not name or name not in known:
                raise unknown(f"layer of {spec}", name, filter(None, known))
        origin = BackboneOrigin(spec, backbone.architecture, backbone.classes)
        backbones.append(Backbone(network, backbone.mean, backbone.std, backbone.layers, backbone.views, origin))
        for alias, layer in architectures.publication_aliases(spec).items():
            aliases.setdefault(alias, prefix + layer)
    normalisations = [
        Normalisation(kind, **_statistics(_below(weights, f"normalisations.{number}.")))
        for number, kind in enumerate(about.normalisations)
    ]
    classes, features = about.head
    head = nn.Linear(features, classes, device="meta")
    head.load_state_dict(_below(weights, "head."), assign=True)
    return Classifier(backbones, normalisations, head, about.fit), aliases


def _statistics(held: dict[str, Tensor]) -> dict[str, Tensor]:
    if held.keys() != {"shift", "scale", "rotation"} or not all(value.is_floating_point() for value in held.values()):
        raise ValueError(f"a normalisation with the weights {', '.join(held)[:100]}")
    return held


def _below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
