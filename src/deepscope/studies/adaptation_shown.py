"""What the studies of domain adaptation show of their trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deepscope.results import Block, Column, Curves, Note, Series, Table
from deepscope.session import Session
from deepscope.studies.adaptation_runs import Judges, Trained, judged, sample_features

_ALONG = {
    "accuracy/target": ("Target accuracy", "accuracy"),
    "domain/accuracy": ("Domain classifier", "accuracy"),
    "a-distance": ("Proxy A-distance", "distance"),
    "confident/coverage": ("Confident predictions: coverage", "share"),
    "confident/precision": ("Confident predictions: precision", "share that is right"),
}


def judges_of(trained: Trained) -> Judges:
    """How far each validator can be trusted, over all arms."""
    return judged(outcome for runs in trained.outcomes.values() for outcome in runs)


def metrics(trained: Trained, judges: Judges) -> dict[str, float]:
    """Accuracy and proxy A-distance of every arm, correlation and regret of every validator."""
    found: dict[str, float] = {}
    for name in trained.outcomes:
        for domain in ("source", "target"):
            found |= trained.mean(name, domain).metrics(f"accuracy/{name}/{domain}")
        found[f"a-distance/{name}"] = trained.last(name, "a-distance").value
    for name, (correlation, regret) in judges.items():
        found[f"validator/{name}/regret"] = regret
        if correlation is not None:
            found[f"validator/{name}/correlation"] = correlation
    return found


def arms_table(trained: Trained, published: Mapping[str, float]) -> Table:
    """Each arm in a row."""
    columns = (Column("arm"), Column("target", ".4f"), Column("±", ".4f"), Column("source", ".4f"))
    columns += (Column("A-distance", ".2f"), *((Column("paper", ".4f"),) if published else ()))
    rows = []
    for name, runs in trained.outcomes.items():
        target = trained.mean(name)
        spread = target.high - target.value if len(runs) > 1 else None
        found = (name, target.value, spread, trained.mean(name, "source").value, trained.last(name, "a-distance").value)
        rows.append((*found, *((published.get(name),) if published else ())))
    caption = "Accuracy on held-out images, and how far a linear classifier tells the domains' features apart (0 to 2)."
    return Table(columns, tuple(rows), title="Arms", caption=caption)


def along(trained: Trained, names: Iterable[str], published: Mapping[str, float]) -> list[Block]:
    """What changes from epoch to epoch, from the first seed."""
    blocks: list[Block] = []
    names = list(names)
    for key, (title, y_title) in _ALONG.items():
        series = []
        for name in names:
            history = trained.outcomes[name][0].adapted.history
            steps, values = history.column(key)
            if len(steps):
                series.append(Series(name, steps / history.rows[-1]["step"], values))
        references = tuple((f"{k} (published)", v) for k, v in published.items()) if key == "accuracy/target" else ()
        if not series:  # as of confident predictions, where there is none
            continue
        blocks.append(Curves(tuple(series), "share of the training", y_title, title, references=references))
    return blocks


def maps(trained: Trained, names: Iterable[str], session: Session) -> list[Block]:
    """t-SNE of test features, by domain and by class."""
    from sklearn.manifold import TSNE

    blocks: list[Block] = []
    for name in names:
        features, labels, side = sample_features(trained.outcomes[name][0], trained.pair, session)
        perplexity = min(30, len(features) // 4)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(features.numpy())
        for title, groups, words in (
            ("by domain", side.numpy(), ("source", "target")),
            ("by class", labels.numpy(), trained.pair.classes),
        ):
            series = tuple(Series(word, *places[groups == group].T, style="points") for group, word in enumerate(words))
            blocks.append(Curves(series, "t-SNE 1", "t-SNE 2", f"Features of {name}, {title}"))
    return blocks


def judges_table(judges: Judges) -> Table:
    """Each validator in a row."""
    columns = (Column("validator"), Column("rank correlation", ".3f"), Column("regret", ".4f"))
    caption = (
        "How well label-free scores order all epochs of all adapted arms by their target accuracy, and how much "
        "accuracy the choice by each loses against the best candidate."
    )
    rows = tuple((name, *found) for name, found in judges.items())
    return Table(columns, rows, title="Choosing without labels", caption=caption)


def notes(trained: Trained) -> list[Note]:
    """What diverged, and how to read the figures."""
    text = (
        "Target labels measure, and choose nothing: every arm is judged at the epoch with the best InfoMax score "
        "(source-only arms: the best accuracy on held-out source images). Means over seeds with 95 % Student "
        "intervals; one seed has none."
    )
    return [*(Note(said, "Diverged", "warning") for said in trained.diverged), Note(text, "How to read this")]
