"""`deepscope explain evaluate`: measures of how far attribution maps can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from deepscope.attributions import evaluate
from deepscope.attributions.evaluate import EVALUATED
from deepscope.attributions.evaluate_job import ExplainEvaluateJob
from deepscope.batch import Sharding
from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.models import DEFAULT, load_model
from deepscope.presenters.batch import in_parts
from deepscope.presenters.explain_evaluate import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Overrides


@dataclass(frozen=True)
class ExplainEvaluate(Command):
    """Measure how far attribution maps can be trusted: faithfulness, stability, and a sanity check.

    Maps are of the predicted class. Random maps are measured as a baseline: a method that does not beat them
    shows nothing. In the sanity check, a map must change when the upper layers of the network are shuffled.

    Attributes:
        folder: folder of images, or one image file.
        methods: names of methods to measure.
        measures: names of measures, by default all of them.
        boxes: CSV of the objects' boxes (file,left,top,right,bottom, in pixels), for the pointing game and relevance
            rank accuracy.
        masks: folder of the objects' masks instead: an image of the same name and size for each image, black where the
            object is not.
        model: the classifier; `deepscope models` lists them.
        against: another classifier, measured on the same images and compared in pairs.
        sanity: images for the sanity check; 0 skips it.
        limit: most images to use, drawn at random.
        batch_size: images per batch; the figures do not depend on it.
        parts: how a large job is cut into parts, and what computes them; the sanity check is left out then.
    """

    name: ClassVar[str] = "evaluate"
    area: ClassVar[str] = "explain"
    example: ClassVar[str] = "deepscope explain evaluate photos/ --methods saliency,grad-cam --against squeezenet1_0"

    folder: Path
    _: KW_ONLY
    methods: tuple[str, ...] = EVALUATED
    measures: tuple[str, ...] = ()
    boxes: Path | None = None
    masks: Path | None = None
    model: str = DEFAULT
    against: str | None = None
    sanity: int = 16
    limit: Count | None = None
    batch_size: Count = 16
    parts: Annotated[Mapping[str, Any], Overrides(Sharding)] = field(default_factory=dict[str, Any])

    def run(self, session: Session) -> Result:
        """Measure every method on every image."""
        if self.parts:
            for name in ("boxes", "masks", "against"):
                if getattr(self, name) is not None:
                    raise SettingError(name, "cannot be combined with {shard_size}, {workers} or {cluster}")
            job = ExplainEvaluateJob(self.model, self.batch_size, methods=self.methods, measures=self.measures)
            return in_parts(job, [self.folder], self.parts, session, limit=self.limit)
        return present(
            evaluate(
                load_model(self.model, session),
                self.folder,
                self.methods,
                measures=self.measures,
                boxes=self.boxes,
                masks=self.masks,
                against=None if self.against is None else load_model(self.against, session),
                sanity=self.sanity,
                limit=self.limit,
                batch_size=self.batch_size,
                session=session,
            )
        )
