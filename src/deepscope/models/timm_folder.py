"""Networks of timm as the Hugging Face hub has them: a folder, `local-dir:FOLDER`, or `hf-hub:ORG/NAME`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from deepscope.errors import FileError
from deepscope.files import sha256
from deepscope.models import architectures, documents, hub, timm_labels
from deepscope.models.options import MOST_CLASSES
from deepscope.models.origin import Origin
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.source import ModelSource, exists
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session

FOLDER, REPOSITORY = "local-dir:", "hf-hub:"
_OPTIONS = {"num_classes", "in_chans", "global_pool", "img_size"}
"""Arguments of timm's builders that a configuration may set: none of them makes a network deeper or wider."""


@dataclass(frozen=True)
class TimmFolder(ModelSource):
    """A folder with timm's `config.json` and weights, by path or timm's names for such folders and repositories."""

    rank: ClassVar[int] = -2

    def open(self, name: str, session: Session) -> VisionModel | None:
        """The network with the folder's weights and timm's configuration of it."""
        bare = name.removeprefix("timm:")
        if bare.startswith(REPOSITORY):
            folder = hub.snapshot(bare.removeprefix(REPOSITORY))
        elif bare.startswith(FOLDER):
            folder = Path(bare.removeprefix(FOLDER))
            hub.configuration(folder)
        else:
            folder = Path(name)
        if not exists(folder / hub.CONFIG) or exists(folder / "model.json"):
            return None
        about = hub.configuration(folder)
        if not isinstance(about.get("architecture"), str) or not isinstance(about.get("pretrained_cfg"), dict):
            return None
        weights = hub.Weights.of(folder)
        with hub.building(folder):
            spec, config, options = _described(folder, about)
            categories = timm_labels.categories(config)
            network = architectures.assemble(spec, weights.load(), classes=config["num_classes"], options=options)
            digest = hashlib.sha256("".join(map(sha256, (folder / hub.CONFIG, *weights.files))).encode())
            return VisionModel(
                name,
                network,
                _preprocessing(config),
                categories,
                wnids=timm_labels.wnids(config) if categories else (),
                origin=Origin(f"timm, {about['architecture']}", digest.hexdigest(), str(config.get("license") or "")),
                architecture=spec if _plain(spec, options) else "",
            )


def _described(folder: Path, about: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The architecture, timm's configuration, and what changes the architecture."""
    options = documents.mapping(about.get("model_args") or {}, "model_args")
    if strange := options.keys() - _OPTIONS:
        raise FileError(
            f"{folder / hub.CONFIG} changes the architecture ({min(strange)[:60]}), which is not supported: build the "
            "network in Python and pass it to deepscope.wrap",
            path=folder,
        )
    config = {**about["pretrained_cfg"], "architecture": about["architecture"]}
    count = about.get("num_classes", options.pop("num_classes", config.get("num_classes")))
    config["num_classes"] = documents.integer(count, "num_classes", low=0, high=MOST_CLASSES)
    config |= {key: about[key] for key in ("label_names", "label_descriptions") if key in about}
    return architectures.resolve(f"timm:{about['architecture']}"), config, options


def _plain(spec: str, options: Mapping[str, Any]) -> bool:
    """Whether the options are those that the architecture has by default."""
    return repr(architectures.skeleton(spec, options=options)) == repr(architectures.skeleton(spec))


def _preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """timm's, with every value's range checked."""
    from timm.data.config import resolve_data_config

    found = architectures.of_timm({**resolve_data_config({}, pretrained_cfg=dict(config)), **config})
    return Preprocessing.from_json(found.to_json())
