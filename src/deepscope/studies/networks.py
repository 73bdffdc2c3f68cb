"""The networks of a study that are available."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.session import Session


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
