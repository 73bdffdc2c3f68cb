"""`deepscope adapt tune`: tune a classifier to images without labels, and without images of its source."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.adaptation import Auto, Tuning, tune
from deepscope.adaptation.tune import require_saveable, require_tunable
from deepscope.command import Command, Keeping
from deepscope.models import load_model
from deepscope.presenters.adapt_tune import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class AdaptTune(Command):
    """Tune a classifier's own layers to images of another kind, without labels and without images of its source.

    Labels that the target has measure the result and decide nothing. The source model is kept where the tuned one
    collapses. The model is written to --out.

    Attributes:
        model: a classifier with batch or layer normalisation: a name, a file, or a folder that `transfer fit` wrote.
        target: images of the target domain: a folder, or a dataset's name.
        method: how to tune.
        validator: label-free score by which auto chooses: info-max, entropy or bnm.
        limit: most images to tune to, drawn at random.
        batch_size: images per step.
    """

    area: ClassVar[str] = "adapt"
    name: ClassVar[str] = "tune"
    example: ClassVar[str] = "deepscope adapt tune my-model/ --target new-photos/ --out tuned/"
    makes: ClassVar[tuple[str, ...]] = ("model.json", "model.safetensors")

    model: str
    _: KW_ONLY
    target: str
    method: Tuning = Auto()
    validator: str = "info-max"
    limit: Count = 2000
    batch_size: Count = 64

    def run(self, session: Session) -> Result:
        """Tune, choose without labels, save, and measure where labels are known."""
        out = session.require_out("the tuned model")
        model = load_model(self.model, session)
        require_tunable(model, self.method)  # first: what cannot be tuned at all is not a matter of saving
        require_saveable(model)
        tuned = tune(
            model,
            self.target,
            method=self.method,
            validator=self.validator,
            limit=self.limit,
            batch_size=self.batch_size,
            session=session,
        )
        keeping = Keeping("the tuned model")
        with keeping:
            tuned = tuned.save_model(out)
        return keeping.done(present(tuned))
