"""How the result of `deepscope adapt tune` is shown."""

from __future__ import annotations

from deepscope.adaptation import TunedModel
from deepscope.names import counted
from deepscope.presenters.shown import saved_note, skipped_blocks
from deepscope.render import presents
from deepscope.results import Block, Column, Note, Provenance, Result, Table


@presents(TunedModel)
def present(tuned: TunedModel) -> Result:
    """What was chosen and why, accuracies where labels are known, and every model that was tried."""
    last = next(choice for choice in tuned.choices if choice.name == tuned.chosen)
    metrics = {key: value for name, found in tuned.accuracies.items() for key, value in found.metrics(name).items()}
    metrics |= {
        "fell-back": float(tuned.fell_back),
        "agreement": last.signs.agreement,
        "largest-class": last.signs.largest,
        "diversity": last.signs.diversity,
    }
    blocks: list[Block] = [_verdict(tuned)]
    if tuned.accuracies:
        rows = tuple((name.removeprefix("accuracy/"), e.value, e.low, e.high) for name, e in tuned.accuracies.items())
        columns = (Column("model"), *(Column(name, ".4f") for name in ("accuracy", "low", "high")))
        blocks.append(Table(columns, rows, title="Accuracy on the target", caption="95 % Wilson intervals."))
    blocks += [_choices(tuned), *(Note(remark, "Target", "warning") for remark in tuned.remarks)]
    if tuned.saved:
        blocks.append(saved_note(tuned.model))
    used = {model.name: model.fingerprint for model in (tuned.source, tuned.model)}
    return Result(
        title=f"{tuned.source.name} tuned to {tuned.target} by {tuned.method.name}",
        metrics=metrics,
        blocks=(*blocks, *skipped_blocks(tuned.skipped)),
        provenance=Provenance(models=used, data=f"{counted(tuned.images, 'image')} of {tuned.target}"),
    )


def _verdict(tuned: TunedModel) -> Note:
    if tuned.fell_back:
        alarm = tuned.choices[-1].signs.alarm
        return Note(f"The tuned model collapsed: {alarm}. The source model is kept.", "Fallback", "warning")
    if tuned.chosen == tuned.choices[0].name:
        return Note(f"The source model has the best {tuned.validator} score, and is kept.", "Choice")
    kept = " Images that do not look like the target's get the source model's answer." if tuned.keeps_source else ""
    return Note(f"Taken: {tuned.chosen}.{kept}", "Choice")


def _choices(tuned: TunedModel) -> Table:
    rows = tuple(
        (choice.name, choice.score, choice.signs.agreement, choice.signs.largest, choice.signs.alarm or "none")
        for choice in tuned.choices
    )
    columns = (
        Column("model"),
        Column(tuned.validator, ".3f"),
        Column("agreement", ".3f"),
        Column("largest class", ".3f"),
        Column("alarm"),
    )
    caption = "No label was used: the score of the validator, the share of images that get the source model's class, "
    return Table(columns, rows, title="Models that were tried", caption=f"{caption}and that of the most frequent one.")
