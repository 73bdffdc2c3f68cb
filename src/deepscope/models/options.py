"""What a person says of a model whose file leaves it open: its architecture, its classes, and what its scores mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from deepscope.errors import FileError, SettingError
from deepscope.models import documents, imagenet
from deepscope.models.heads import BINARY, Head, HeadKind, Thresholds, head_of, in_words
from deepscope.models.preprocessing import Preprocessing
from deepscope.models.preprocessing_text import in_full, read_words
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session

MOST_CLASSES = 100_000
"""That a classifier may have: above it, a file is damaged or hostile."""
GIVEN = "the description that was given"
"""Where preprocessing comes from that `ModelOptions` names."""
_PROMPT = re.compile(r"([^\[\]:]*\{\}[^:]*):\s*(.+)", re.DOTALL)


@dataclass(frozen=True)
class ModelOptions:
    """What a model's file does not say. On the command line each field is a flag of every command that takes a model.

    Attributes:
        architecture: of weights that do not name it: "torchvision:vgg16" or "timm:NAME".
        classes: a file with one class name per line, names separated by commas, a JSON list, or "imagenet-1k"; for
            CLIP with a prompt before it, "a photo of a {}: cat, dog".
        head: what the scores mean: "softmax" (classes that exclude each other), "multilabel" (a sigmoid per label),
            "binary" (one logit for two classes), or "features" (there are no classes).
        thresholds: probabilities above which a label is predicted: one for all labels, one per label, or pairs such as
            "cat=0.3, dog=0.6"; 0.5 by default.
        preprocessing: what images go through, where it differs from what the model says: "resize 256, crop 224",
            "resize 64 x 64, mean 0.5, std 0.5"; what is not named stays.
        gradients: convert an ONNX file to PyTorch for gradients; refused where scores differ by more than 1e-4.
    """

    architecture: str = ""
    classes: str = ""
    head: str = ""
    thresholds: str = ""
    preprocessing: str = ""
    gradients: bool = False

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
            SettingError: it is neither a file nor several names, or a name occurs twice.
        """
        names = self._names()
        if names != imagenet.categories() and len(set(names)) < len(names):
            first, second = _repeated(names)
            raise SettingError(
                "classes",
                f"name {names[first]!r} twice, as classes {first:,} and {second:,}: each class needs a name of its own",
            )
        return names

    def _names(self) -> tuple[str, ...]:
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

    def preprocessed(self, known: Preprocessing) -> Preprocessing:
        """What a model has by itself, changed as it was given. Raises SettingError where that cannot be read."""
        return read_words(self.preprocessing, known) if self.preprocessing else known

    def applied(self, model: VisionModel) -> VisionModel:
        """The model, with the preprocessing and the names of classes that were given.

        Raises:
            SettingError: it has another number of classes, takes images of another size, or gives no gradients where
                these are asked for.
        """
        if self.gradients and not model.capabilities.gradients:
            raise SettingError("gradients", f"is for ONNX files, which are converted: {model.name} gives none")
        model = self._with_head(self._with_preprocessing(model))
        names = self.names()
        if not names or names == model.categories:
            return self._with_thresholds(model)
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
        return self._with_thresholds(made)

    def _with_preprocessing(self, model: VisionModel) -> VisionModel:
        found = self.preprocessed(model.preprocessing)
        if not self.preprocessing:
            return model
        taken = model.capabilities.input_size
        if taken is not None and found.size != taken:
            sizes = " and ".join("{} x {}".format(*size) for size in (found.size, taken))
            raise SettingError("preprocessing", f"and {model.name} differ in the size of images: {sizes} pixels")
        made = replace(model, preprocessing=found, origin=replace(model.origin, preprocessing=GIVEN))
        made.outputs.kind, made.outputs.single = model.outputs.kind, model.outputs.single
        return made

    def _with_head(self, model: VisionModel) -> VisionModel:
        """The model, whose scores mean what was said of them."""
        if not self.head or self.head == model.head.kind:
            return model
        head = Head(cast(HeadKind, self.head))
        if head.kind == "features":
            return replace(model, head=head)
        model.require_classes()
        names = model.categories
        if head.kind == "binary":
            if len(names) != len(BINARY):
                raise SettingError("head", f"cannot be binary: {model.name} has {len(names):,} classes")
            names = BINARY if names == ("class 0", "class 1") else names
        made = replace(model, categories=names, head=head)
        if model.outputs.kind == "logits":  # what they are does not depend on the head; probabilities do
            made.outputs.kind = "logits"
        return made

    def _with_thresholds(self, model: VisionModel) -> VisionModel:
        if not self.thresholds:
            return model
        made = replace(model, head=head_of(model.head.kind, self.thresholds, model.categories))
        made.outputs.kind = model.outputs.kind
        return made


def given(
    architecture: str | None,
    categories: Sequence[str] | str | Path | None,
    head: str | None = None,
    thresholds: Thresholds = None,
    *,
    preprocessing: Preprocessing | str | None = None,
    gradients: bool = False,
) -> ModelOptions:
    """The options as `load_model` takes them: categories are names, or what `ModelOptions.classes` may be."""
    if architecture is not None and not isinstance(architecture, str):
        raise SettingError("architecture", "must be a name such as 'torchvision:resnet18'", got=architecture)
    if categories is not None and not isinstance(categories, (Path, Iterable)):
        raise SettingError("categories", "must be a list of names, or a file of them", got=categories)
    if not isinstance(categories, (str, Path)):
        categories = "" if categories is None else json.dumps([str(name) for name in categories])
    said = "" if preprocessing is None else in_full(preprocessing)
    return ModelOptions(architecture or "", str(categories), head or "", in_words(thresholds), said, gradients)


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


def _repeated(names: Sequence[str]) -> tuple[int, int]:
    """The places of the first name that occurs twice."""
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        if name in seen:
            return seen[name], place
        seen[name] = place
    raise AssertionError("no name occurs twice")
