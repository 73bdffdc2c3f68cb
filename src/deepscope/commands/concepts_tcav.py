"""`deepscope concepts tcav`: whether class scores depend on concepts that are given as images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope import concepts
from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.concepts_tcav import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class ConceptsTcav(Command):
    """Test whether a class score depends on concepts that folders of images show (TCAV, Kim et al. 2018).

    Random sets of images take the concept's role; p-values are adjusted for all tests.

    Attributes:
        paths: image files and folders; those that the model classifies as the target are used.
        concepts: a folder of images for each concept, named after it.
        pool: a folder of images that have nothing to do with the concepts, at least twice as many as of any concept.
        target: classes, by name or number; the one predicted most often by default.
        layer: layers, as `deepscope models show MODEL` prints them; the last feature map by default.
        model: the classifier; `deepscope models` lists them.
        random_sets: random sets per concept; by default 40 per test.
        counterparts: sets of the pool that each concept is told from.
        limit: most images to read of each folder, drawn at random.
    """

    name: ClassVar[str] = "tcav"
    area: ClassVar[str] = "concepts"
    example: ClassVar[str] = "deepscope concepts tcav photos/ --concepts striped/ --pool my-photos/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    concepts: tuple[Path, ...] = ()
    pool: Path | None = None
    target: tuple[str, ...] = ()
    layer: tuple[str, ...] = ()
    model: str = DEFAULT
    random_sets: Count | None = None
    counterparts: Count = 3
    limit: Count = 200

    def run(self, session: Session) -> Result:
        """Test all concepts at all layers for all classes."""
        if not self.concepts:
            raise SettingError("concepts", "must name at least one folder of images")
        if self.pool is None:
            raise SettingError("pool", "must name a folder of images")
        return present(
            concepts.tcav(
                load_model(self.model, session),
                self.paths,
                self.concepts,
                self.pool,
                targets=self.target or None,
                layers=self.layer or None,
                random_sets=self.random_sets,
                counterparts=self.counterparts,
                limit=self.limit,
                session=session,
            )
        )
