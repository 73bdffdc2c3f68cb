"""`deepscope explain compare`: several methods on the same images, in one figure."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.attributions import compare
from deepscope.command import Command
from deepscope.data.photographs import bundled_photographs
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.explain_compare import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class ExplainCompare(Command):
    """Compare attribution methods: their maps side by side, and how far they agree.

    A method that does not apply to the network leaves its column empty; a table says why.

    Attributes:
        paths: image files and folders; without any, the photographs that come with the installation.
        methods: names of methods, each with its default settings; by default those that work on any
            architecture and need fewer than 100 passes per image; `all` for all of them.
        target: explain this class, by name or number, or each image's `true`, `predicted` or `second` most probable
            class; the predicted one by default.
        versus: explain why the target and not this class, named as --target.
        model: the classifier; `deepscope models` lists them.
        figures: most images that the figure shows.
        batch_size: images per batch; the maps do not depend on it.
    """

    name: ClassVar[str] = "compare"
    area: ClassVar[str] = "explain"
    example: ClassVar[str] = "deepscope explain compare cat.jpg --methods saliency,grad-cam,deep-lift --out compared/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    methods: tuple[str, ...] = ()
    target: str | None = None
    versus: str | None = None
    model: str = DEFAULT
    figures: int = 6
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """Explain every image by every method."""
        return present(
            compare(
                load_model(self.model, session),
                self.paths or bundled_photographs().paths,
                self.methods,
                target=self.target,
                versus=self.versus,
                keep=max(self.figures, 0),
                batch_size=self.batch_size,
                session=session,
            )
        )
