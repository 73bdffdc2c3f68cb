"""A folder that holds a whole classifier: `model.json` says what it is, `weights.safetensors` holds every number."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from deepscope.errors import DeepscopeError, unknown
from deepscope.files import matching, replace_together
from deepscope.models import architectures, documents
from deepscope.models.classifier import Backbone, Classifier, Normalisation
from deepscope.models.description import Description, described
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import Entry, ModelSource, exists
from deepscope.models.vision_model import Origin, VisionModel
from deepscope.models.weights import checked
from deepscope.records import retire
from deepscope.session import Session, first_process, wait_for_others

FORMAT, VERSION = "deepscope-classifier", 1
ONNX = "model.onnx"
"""Where `transfer export` writes by default; the file names the fingerprint of its model."""
_DESCRIPTION, _WEIGHTS = "model.json", "weights.safetensors"


@dataclass(frozen=True)
class SavedFolder(ModelSource):
    """A folder that `transfer fit` wrote, by its path."""

    rank: ClassVar[int] = -1

    def entries(self, session: Session) -> Iterator[Entry]:
        """None: such folders lie where people put them."""
        return iter(())

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The classifier in the folder of that path."""
        parts = (Path(name) / part for part in (_DESCRIPTION, _WEIGHTS))
        return load(Path(name)) if any(map(exists, parts)) else None


@dataclass(frozen=True)
class BackboneOrigin:
    """What rebuilds a backbone's network: its architecture (`LIBRARY:NAME`) and the outputs of its class layer."""

    name: str
    architecture: str
    classes: int | None


def require_architectures(origins: Sequence[BackboneOrigin]) -> None:
    """Raises DeepscopeError where a backbone has no architecture that a name can rebuild: `save` would refuse it."""
    for origin in origins:
        if not origin.architecture:
            raise DeepscopeError(
                f"{origin.name} cannot be saved: its network has no architecture by name, "
                f"so nothing could rebuild it; use a model of torchvision or timm"
            )


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
        folder: made where it does not exist; an earlier classifier in it is replaced, its result and ONNX file removed.
        classifier: on any device.
        origins: one for each backbone.
        preprocessing: makes pixels from images; each backbone normalises them itself.
        categories: the user's classes.
        source: in words, what it was fitted on.

    Raises:
        DeepscopeError: a backbone has no architecture that a name can rebuild, or the folder cannot be written to.
    """
    require_architectures(origins)
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
                retire=lambda: _retire(folder),
            )
        except OSError as error:
            raise DeepscopeError(
                f"the classifier cannot be written to {folder} ({error.strerror}): free some space"
            ) from None
    wait_for_others()
    return load(folder)


def _retire(folder: Path) -> None:
    """Remove what describes the classifier that is about to be replaced: its result, and its export to ONNX."""
    retire(folder)
    try:
        earlier = _description(folder).weights_sha256
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
        DeepscopeError: no such classifier, one of a newer version, or files that are missing, damaged or changed.
    """
    about = _description(folder)
    path = matching(folder / _WEIGHTS, about.weights_sha256)
    if path is None and not (folder / _WEIGHTS).is_file():
        raise DeepscopeError(f"{folder} is not whole: {_WEIGHTS} is missing; copy the folder again, or fit it again")
    if path is None:
        raise DeepscopeError(
            f"{folder / _WEIGHTS} is not the file that was saved: its SHA-256 differs from {_DESCRIPTION}'s"
        )
    try:
        network, aliases = _rebuild(about, checked(safetensors.torch.load_file(path)))
        return VisionModel(
            name=str(folder),
            network=network,
            preprocessing=about.preprocessing,
            categories=about.categories,
            aliases=aliases,
            origin=Origin(about.source, about.weights_sha256),
        )
    except DeepscopeError as error:
        raise DeepscopeError(f"{folder}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeepscopeError(
            f"{folder / _DESCRIPTION} does not describe its weights ({reason}): fit it again"
        ) from None


def _description(folder: Path) -> Description:
    path = folder / _DESCRIPTION
    if not path.is_file():
        raise DeepscopeError(
            f"{folder} holds no saved classifier: {_DESCRIPTION} is missing; `transfer fit` writes one"
        )
    try:
        about = documents.read(path)
    except (ValueError, OSError) as error:
        raise DeepscopeError(f"{path} cannot be read ({error}): copy the folder again, or fit it again") from None
    version = about.get("version") if isinstance(about, dict) else None
    if type(version) is not int or about.get("format") != FORMAT:
        raise DeepscopeError(f"{path} describes no classifier of deepscope: name a folder that `transfer fit` wrote")
    if version > VERSION:
        raise DeepscopeError(
            f"{folder} was saved by a newer deepscope (format {version}, {VERSION} here): upgrade deepscope"
        )
    try:
        return described(about)
    except ValueError as error:
        raise DeepscopeError(f"{path} does not describe its weights ({error}): fit it again") from None


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
        network = architectures.assemble(spec, _below(weights, prefix), classes=backbone.classes, partial=True)
        known = dict(network.named_modules())
        for name, _ in backbone.layers:
            if not name or name not in known:
                raise unknown(f"layer of {spec}", name, filter(None, known))
        backbones.append(Backbone(network, backbone.mean, backbone.std, backbone.layers, backbone.views))
        for alias, layer in architectures.publication_aliases(spec).items():
            aliases.setdefault(alias, prefix + layer)
    normalisations = [
        Normalisation(kind, **_statistics(_below(weights, f"normalisations.{number}.")))
        for number, kind in enumerate(about.normalisations)
    ]
    classes, features = about.head
    head = nn.Linear(features, classes, device="meta")
    head.load_state_dict(_below(weights, "head."), assign=True)
    return Classifier(backbones, normalisations, head), aliases


def _statistics(held: dict[str, Tensor]) -> dict[str, Tensor]:
    if held.keys() != {"shift", "scale", "rotation"} or not all(value.is_floating_point() for value in held.values()):
        raise ValueError(f"a normalisation with the weights {', '.join(held)[:100]}")
    return held


def _below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
