"""The networks of a study that are available."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel, catalogue
from deepscope.session import Session


def installed(session: Session, *, whole: bool = False) -> set[str]:
    """The names that `load_model` opens without a download; torchvision's with and without "torchvision:".

    Args:
        session: where weights are looked for.
        whole: leave out those that have features only.
    """
    here = [entry.name for entry in catalogue(session) if entry.here and not (whole and entry.features_only)]
    return {*here, *(name.removeprefix("torchvision:") for name in here)}


def usable(
    names: Sequence[str], session: Session, load: Callable[[str, Session], VisionModel]
) -> tuple[list[VisionModel], dict[str, str]]:
    """Networks with a class layer that `load` opens, and for every other name the reason."""
    models: list[VisionModel] = []
    missing: dict[str, str] = {}
    for name in names:
        try:
            model = load(name, session)
            model.require_classes()
            models.append(model)
        except DeepscopeError as error:
            missing[name] = str(error)
    return models, missing
