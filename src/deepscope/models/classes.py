"""Finding a class of a model by what a person calls it."""

from __future__ import annotations

from collections.abc import Sequence

from deepscope.errors import ModelError, unknown
from deepscope.names import Names


class Classes:
    """The classes of a model, to be found by name, WordNet identifier or number.

    Args:
        model: its name, for messages.
        categories: one name per class.
        wnids: the classes' WordNet identifiers; empty where they have none.
    """

    def __init__(self, model: str, categories: Sequence[str], wnids: Sequence[str]) -> None:
        self._model, self._categories, self._wnids = model, categories, wnids
        self._names = Names(categories)

    def index(self, text: str | int) -> int:
        """The index of a class: see `VisionModel.category`.

        Raises:
            UnknownNameError: no class has that name.
            ModelError: several classes have it, or the number is too large.
        """
        if isinstance(text, int):
            return self._numbered(text)
        found = self._names.places(text)
        if len(found) > 1:
            numbers = " or ".join(str(index) for index in found)
            raise ModelError(f"{self._model} has several classes named {text!r}: give the number instead, {numbers}")
        if found:
            return found[0]
        if text in self._wnids:
            return self._wnids.index(text)
        if text.strip().isdecimal() and text.isascii():
            return self._numbered(int(text))
        raise unknown("class", text, self._categories, listing=f"`deepscope models classes {self._model}`")

    def _numbered(self, index: int) -> int:
        if not 0 <= index < len(self._categories):
            raise ModelError(
                f"class {index} does not exist: {self._model} has classes 0 to {len(self._categories) - 1}"
            )
        return index
