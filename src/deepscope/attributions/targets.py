"""Which class of an image is explained, and which one it is contrasted with."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from deepscope.errors import DataError, SettingError
from deepscope.images import Skipped
from deepscope.inputs import Photos
from deepscope.models import VisionModel
from deepscope.session import Session

Role = Literal["true", "predicted", "second"]
"""A class by its part in each image: the right one, the most probable one, or the second most probable one."""
Target: TypeAlias = "int | str"
"""A class by name or number, or a `Role`."""

ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class Wanted:
    """The class that a person asked for.

    Attributes:
        setting: the setting that names it.
        role: its part in each image; None where it is one class for all images.
        label: the class where it is the same for all images.
    """

    setting: str
    role: str | None = None
    label: int = 0

    @classmethod
    def of(cls, given: Any, setting: str, model: VisionModel, session: Session) -> Wanted:
        """A class or a role. `true`, `predicted` and `second`, in lower case, are always roles.

        A class that is really named so is given by its number, or in another case: `True`.

        Raises:
            SettingError: it is neither a name nor a number, or the second class of a model that has one.
            UnknownNameError: no class has that name.
            ModelError: several classes have it, or the number is too large.
        """
        if not isinstance(given, str):
            try:
                if isinstance(given, bool):
                    raise TypeError
                given = operator.index(given)
            except TypeError:
                raise SettingError(setting, "must be a class, by name or number", got=given) from None
        if given not in ROLES:
            return cls(setting, label=model.category(given))
        if given in model.categories:
            number = model.categories.index(given)
            session.note_once(
                f"role {given}",
                f"{setting} {given!r} is each image's own; for the class of that name give its number, {number}",
            )
        if given == "second" and len(model.categories) < 2:
            raise SettingError(setting, f"cannot be the second class: {model.name} has a single one")
        return cls(setting, given)

    def classes(self, photos: Photos) -> list[int | None]:
        """The class of each image; None where the true one is asked for and not known."""
        if self.role is None:
            return [self.label] * len(photos)
        if self.role == "true":
            return [photos.true_class(row) for row in range(len(photos))]
        if self.role == "predicted":
            return list(photos.predicted.tolist())
        return list(photos.logits.topk(2, dim=1).indices[:, 1].tolist())


@dataclass(frozen=True)
class Question:
    """Why one class, and not another one.

    Attributes:
        target: the class that is explained.
        versus: the class whose score is subtracted; None explains the score of the target alone.
    """

    target: Wanted
    versus: Wanted | None

    @classmethod
    def of(cls, target: Target | None, versus: Target | None, model: VisionModel, session: Session) -> Question:
        """What a person asked for; the predicted class where `target` is None.

        Raises:
            SettingError: the two are the same, or one of them is no class.
            UnknownNameError: no class has that name.
            ModelError: several classes have it, or the number is too large.
        """
        one = Wanted.of("predicted" if target is None else target, "target", model, session)
        if versus is None:
            return cls(one, None)
        other = Wanted.of(versus, "versus", model, session)
        if (one.role, one.label) == (other.role, other.label):
            raise SettingError("versus", "must be another class than {target}", got=versus)
        return cls(one, other)

    def ask(self, photos: Photos) -> tuple[Photos, list[int], list[int] | None]:
        """The images, the class of each, and the class that it is contrasted with.

        Images whose true class is asked for and not known, and those in which the two are the same class, are left out
        and added to what was skipped.
        """
        ones = self.target.classes(photos)
        others = [None] * len(photos) if self.versus is None else self.versus.classes(photos)
        rows: list[int] = []
        skipped = list(photos.skipped)
        for row, (one, other) in enumerate(zip(ones, others)):
            if one is None or (other is None and self.versus is not None):
                reason = "its true class is not known: put it into a folder named by its class"
            elif one == other:
                reason = f"target and versus are the same class, {photos.model.categories[one]}"
            else:
                rows.append(row)
                continue
            skipped.append(Skipped(str(photos.paths[row]), reason))
        if len(rows) < len(photos):
            photos = replace(photos[rows], skipped=tuple(skipped))
        against = None if self.versus is None else [other for row in rows if (other := others[row]) is not None]
        return photos, [one for row in rows if (one := ones[row]) is not None], against


def require_some(maps: Sequence[Any], skipped: Sequence[Skipped]) -> None:
    """Raises DataError where every image was left out."""
    if not maps:
        raise DataError(f"no image is left to explain: {skipped[-1].path}: {skipped[-1].reason}")
