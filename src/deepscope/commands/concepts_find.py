"""`deepscope concepts find`: the concepts by which a network recognises a class."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from deepscope import concepts
from deepscope.command import Command
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.concepts_find import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, PositiveShare, Range


@dataclass(frozen=True)
class ConceptsFind(Command):
    """Find the concepts by which a network recognises a class, with their importance (CRAFT, Fel et al. 2023).

    Activations are factorised into non-negative parts; deletion checks the order on other images.

    Attributes:
        paths: image files and folders; those that the model classifies as the target are used.
        target: the class, by name or number; the one predicted most often by default.
        layer: the layer's name as `deepscope models show MODEL` prints it; the last feature map by default.
        model: the classifier; `deepscope models` lists them.
        concepts: how many.
        patch: side of the patches that are shown, as a share of the image's.
        limit: most images to read, drawn at random.
        evaluated: most images that importance is computed on, and most that deletion is measured on.
    """

    name: ClassVar[str] = "find"
    area: ClassVar[str] = "concepts"
    example: ClassVar[str] = "deepscope concepts find photos/ --concepts 5 --out found/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    target: str | None = None
    layer: str | None = None
    model: str = DEFAULT
    concepts: Annotated[int, Range(2)] = 10
    patch: PositiveShare = 0.3
    limit: Count = 200
    evaluated: Annotated[int, Range(2)] = 40

    def run(self, session: Session) -> Result:
        """Factorise, weigh and check."""
        return present(
            concepts.find(
                load_model(self.model, session),
                self.paths,
                self.target,
                layer=self.layer,
                concepts=self.concepts,
                patch=self.patch,
                limit=self.limit,
                evaluated=self.evaluated,
                session=session,
            )
        )
