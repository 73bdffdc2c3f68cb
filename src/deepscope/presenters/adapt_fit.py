"""How the result of `deepscope adapt fit` is shown."""

from __future__ import annotations

from deepscope.adaptation import AdaptedModel
from deepscope.presenters.shown import saved_note, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, Curves, Note, Provenance, Result, Series, Table
from deepscope.training import History


@presents(AdaptedModel)
def present(adapted: AdaptedModel) -> Result:
    """Accuracies on both domains, and the course of the training."""
    domains, saved = adapted.domains, [adapted.saved] if adapted.saved else []
    source, target = f"{len(domains.source)} labelled images of {adapted.source}", f"{len(domains.target)}"
    return Result(
        title=f"Adapted from {adapted.source} to {adapted.target} by {adapted.method.name}",
        metrics={
            **{key: value for name, found in adapted.accuracies.items() for key, value in found.metrics(name).items()},
            "epoch": adapted.epoch,
        },
        blocks=(
            _table(adapted),
            *(Note(f"{remark}.", "Classes", "warning") for remark in domains.remarks),
            *map(saved_note, saved),
            *curves(adapted.history),
            *skipped_blocks(domains.skipped),
        ),
        provenance=Provenance(
            models={model.name: model.fingerprint for model in saved}, data=f"{source}, {target} of {adapted.target}"
        ),
    )


def curves(history: History) -> tuple[Block, ...]:
    """Losses, label-free scores, and the method's own figures, during training."""
    groups = {
        "loss/": ("Losses", "loss", ""),
        "validator/": (
            "Label-free scores",
            "score, rescaled to [0, 1]",
            "Each score from its lowest to its highest value.",
        ),
        "domain/": ("Domain classifier", "accuracy", "0.5 is chance: it cannot tell the domains apart."),
        "pseudo-labels/": (
            "Pseudo-labels",
            "fraction",
            "Coverage: share of target images whose pseudo-label is confident.",
        ),
    }
    names = sorted({name for row in history.rows for name in row})
    blocks = []
    for prefix, (title, y_title, caption) in groups.items():
        series = []
        for name in (name for name in names if name.startswith(prefix)):
            steps, values = history.column(name)
            if prefix == "validator/":
                values = (values - values.min()) / max(float(values.max() - values.min()), 1e-12)
            series.append(Series(name.removeprefix(prefix), steps, values))
        if series:
            blocks.append(Curves(tuple(series), "training step", y_title, title, caption))
    return tuple(blocks)


def _table(adapted: AdaptedModel) -> Table:
    found = adapted.accuracies.items()
    rows = tuple((name.removeprefix("accuracy/"), e.value, e.low, e.high) for name, e in found)
    columns = (Column("domain"), Column("accuracy", ".4f"), Column("low", ".4f"), Column("high", ".4f"))
    return Table(columns, rows, title="Accuracy on held-out images", caption="95 % Wilson intervals.")
