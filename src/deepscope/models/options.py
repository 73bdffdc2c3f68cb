"""What a person says of a model whose file leaves it open: its architecture, and the names of its classes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepscope.errors import FileError, SettingError
from deepscope.models import documents, imagenet
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session

MOST_CLASSES = 100_000
"""That a classifier may have: above it, a file is damaged or hostile."""
_PROMPT = re.compile(r"([^\[\]:]*\{\}[^:]*):\s*(.+)", re.DOTALL)


@dataclass(frozen=True)
class ModelOptions:
    """What a model's file does not say. On the command line each field is a flag of every command that takes a model.

    Attributes:
        architecture: of weights that do not name it: "torchvision:vgg16" or "timm:NAME".
        classes: a file with one class name per line, names separated by commas, a JSON list, or "imagenet-1k"; for
            CLIP with a prompt before it, "a photo of a {}: cat, dog".
    """

    architecture: str = ""
    classes: str = ""

    @classmethod
    def of(cls, name: str, session: Session) -> ModelOptions:
        """What the session says of the model of that name; nothing where it says nothing."""
        found = session.options.get(name)
        return found if isinstance(found, ModelOptions) else cls()

    def within(self, session: Session, name: str) -> Session:
        """The session, in which the model of that name has these options."""
        return session if self == ModelOptions() else replace(session, options={**session.options, name: self})

    @property
    def prompt(self) -> str:
        """The text with {} in place of a class that stands before the classes; empty where there is none."""
        return self._divided()[0]

    def _divided(self) -> tuple[str, str]:
        found = _PROMPT.fullmatch(self.classes)
        return (found[1], found[2]) if found else ("", self.classes)

    def names(self) -> tuple[str, ...]:
        """The names of the classes; empty where they are not given.

        Raises:
            FileError: the file cannot be read, is empty, has an empty line, or is too large.
            SettingError: it is neither a file nor several names.
        """
        _, classes = self._divided()
        if classes == imagenet.NAME:
            return imagenet.categories()
        if not classes:
            return ()
        if classes.startswith("["):
            return _listed(classes)
        try:
            if Path(classes).is_file():
                return _lines(Path(classes))
        except (OSError, ValueError):  # no path: too long, or a null byte
            pass
        names = tuple(name.strip() for name in classes.split(","))
        if len(names) < 2 or not all(names):
            empty = "has an empty name between commas" if "," in classes else "is not a file"
            raise SettingError("classes", f"{classes[:80]!r} {empty}: give a file, or names separated by commas")
        return names

    def applied(self, model: VisionModel) -> VisionModel:
        """The model, with the names that were given for its classes.

        Raises:
            SettingError: it has another number of classes.
        """
        names = self.names()
        if not names or names == model.categories:
            return model
        model.require_classes()
        if len(names) != len(model.categories):
            raise SettingError(
                "classes",
                f"names {len(names):,} class{'es' if len(names) > 1 else ''}, and {model.name} has "
                f"{len(model.categories):,}: name each",
            )
        known = names == imagenet.categories()
        said = imagenet.NAME if known else self.classes if Path(self.classes).suffix else "names that were given"
        origin = replace(model.origin, classes=said)
        made = replace(model, categories=names, wnids=imagenet.wnids() if known else (), origin=origin)
        made.outputs.kind = model.outputs.kind
        return made


def given(architecture: str | None, categories: Sequence[str] | str | Path | None) -> ModelOptions:
    """The options as `load_model` takes them: categories are names, or what `ModelOptions.classes` may be."""
    if architecture is not None and not isinstance(architecture, str):
        raise SettingError("architecture", "must be a name such as 'torchvision:resnet18'", got=architecture)
    if categories is not None and not isinstance(categories, (Path, Iterable)):
        raise SettingError("categories", "must be a list of names, or a file of them", got=categories)
    if isinstance(categories, (str, Path)):
        return ModelOptions(architecture or "", str(categories))
    return ModelOptions(
        architecture or "", "" if categories is None else json.dumps([str(name) for name in categories])
    )


def _listed(text: str) -> tuple[str, ...]:
    """The names in a JSON list."""
    try:
        listed = documents.sequence(documents.parse(text), "the list", low=1, high=MOST_CLASSES)
        return tuple(documents.text(name, "a name") for name in listed)
    except ValueError as error:
        raise SettingError("classes", f"is no JSON list of names ({error}): give one, or a file of names") from None


def _lines(path: Path) -> tuple[str, ...]:
    """The names in a file, one per line."""
    try:
        with path.open("rb") as file:
            content = file.read(documents.MOST_BYTES + 1)
        if len(content) > documents.MOST_BYTES:
            raise FileError(f"{path} is larger than {documents.MOST_BYTES >> 20} MB: give a file of names", path=path)
        lines = [line.strip() for line in content.decode("utf-8-sig").rstrip().splitlines()]
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}", path=path) from None
    except UnicodeDecodeError:
        raise FileError(f"{path} is not a text in UTF-8: give a file with one class name per line", path=path) from None
    if len(lines) > MOST_CLASSES:
        raise FileError(f"{path} has {len(lines):,} lines: a classifier has at most {MOST_CLASSES:,}", path=path)
    if not lines or not all(lines):
        where = f"line {lines.index('') + 1} is empty" if lines else "it is empty"
        raise FileError(f"{path}: {where}; give one class name per line", path=path)
    return tuple(lines)
