"""`deepscope explain METHOD`: which pixels determine a class score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from deepscope.attributions import Attribution, explain
from deepscope.attributions.job import ExplainJob
from deepscope.batch import Sharding
from deepscope.command import Command
from deepscope.data.photographs import bundled_photographs
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.batch import in_parts
from deepscope.presenters.explain import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides


@dataclass(frozen=True)
class Explain(Command):
    """Show which pixels determine a prediction, as attribution maps and overlays.

    Without --target, --versus and --top, an image whose true class is known gets a map for that class and one for the
    predicted class; any other image gets one for the predicted class, or for every predicted label. The raw maps are
    saved as .npz.

    Attributes:
        method: attribution method.
        paths: image files and folders; without any, the photographs that come with the installation.
        target: explain this class, by name or number; or each image's `true`, `predicted` or `second` most probable
            class (a class of such a name goes by its number).
        versus: explain why the target and not this class, named as --target.
        top: explain this many of the most probable classes, side by side.
        model: the classifier; `deepscope models` lists them.
        limit: most images to use, drawn at random; by default all.
        figures: most images that the figure shows.
        batch_size: images per batch; the maps do not depend on it.
        parts: how a large job is cut into parts, and what computes them.
    """

    name: ClassVar[str] = "explain"
    example: ClassVar[str] = "deepscope explain grad-cam cat.jpg --top 3 --out maps/"

    method: Attribution
    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    target: str | None = None
    versus: str | None = None
    top: Count | None = None
    model: str = DEFAULT
    limit: Count | None = None
    figures: int = 12
    batch_size: Count = 16
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any])

    def run(self, session: Session) -> Result:
        """Explain every image that can be read."""
        if self.parts:
            asked = {"target": self.target, "versus": self.versus, "top": self.top}
            job = ExplainJob(self.model, self.batch_size, method=self.method, **asked)
            return in_parts(job, self.paths or bundled_photographs().paths, self.parts, session, limit=self.limit)
        return present(
            explain(
                load_model(self.model, session),
                self.paths or bundled_photographs().paths,
                self.method,
                target=self.target,
                versus=self.versus,
                top=self.top,
                limit=self.limit,
                keep=max(self.figures, 0),
                batch_size=self.batch_size,
                session=session,
            )
        )
