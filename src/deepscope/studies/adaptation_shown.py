"""Tables and figures of the studies of domain adaptation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from deepscope.results import Block, Column, Curves, Note, Series, Table
from deepscope.session import Session
from deepscope.studies.adaptation_runs import (
    SOURCE_ACCURACY,
    TARGET_ACCURACY,
    AdaptationsTrained,
    Trust,
    sample_features,
    trust,
)

_ALONG = {
    TARGET_ACCURACY: ("Target accuracy", "accuracy on target images"),
    "domain/accuracy": ("Domain classifier", "accuracy (0.5: chance)"),
    "a-distance": ("Proxy A-distance", "proxy A-distance (0 to 2)"),
    "confident/coverage": ("Confident predictions: coverage", "fraction of target images"),
    "confident/precision": ("Confident predictions: precision", "accuracy of these predictions"),
}
FACTORS = (
    "Accuracy by the largest factor of the gradient reversal; 0 is drawn at 0.001. Bands are 95 % intervals over "
    "several seeds."
)
PLACES = "Test images of both domains, placed by t-SNE of their features: only nearness has a meaning."
CAPTIONS = {
    "Target accuracy": (
        "Accuracy on target images that were held out, along the training. The first seed of each arm."
    ),
    "Domain classifier": (
        "How often the network that tells source from target by their features is right: 0.5 is chance, and "
        "then the features no longer show the domain. The first seed of each arm."
    ),
    "Proxy A-distance": (
        "How well a linear classifier tells source from target by their features: 2 without an error, 0 not "
        "at all. The first seed of each arm."
    ),
    "Confident predictions: coverage": (
        "Part of the target images whose predicted class has a probability of at least 0.9: these could serve"
        " as pseudo-labels. The first seed of each arm."
    ),
    "Confident predictions: precision": (
        "Part of these confident predictions that is right. The axis does not begin at 0. The first seed of each arm."
    ),
}
"""What the figures show, by their titles."""


def trust_of(trained: AdaptationsTrained) -> dict[str, Trust]:
    """How far each validator can be trusted, over all arms."""
    return trust(outcome for runs in trained.outcomes.values() for outcome in runs)


def metrics(trained: AdaptationsTrained, validators: Mapping[str, Trust]) -> dict[str, float]:
    """Accuracy and proxy A-distance of every arm, correlation and regret of every validator."""
    found: dict[str, float] = {}
    for name in trained.outcomes:
        for domain, figure in (("source", SOURCE_ACCURACY), ("target", TARGET_ACCURACY)):
            found |= trained.runs.mean(name, figure).metrics(f"accuracy/{name}/{domain}")
        found[f"a-distance/{name}"] = trained.last(name, "a-distance").value
    for name, one in validators.items():
        found[f"validator/{name}/regret"] = one.regret
        if one.correlation is not None:
            found[f"validator/{name}/correlation"] = one.correlation
    return found


def arms_table(trained: AdaptationsTrained, published: Mapping[str, float]) -> Table:
    """Each arm in a row."""
    columns = (Column("arm"), Column("target", ".4f"), Column("±", ".4f"), Column("source", ".4f"))
    columns += (Column("A-distance", ".2f"), *((Column("paper", ".4f"),) if published else ()))
    rows = []
    for name, runs in trained.outcomes.items():
        target = trained.runs.mean(name, TARGET_ACCURACY)
        spread = target.high - target.value if len(runs) > 1 else None
        source, distance = trained.runs.mean(name, SOURCE_ACCURACY), trained.last(name, "a-distance")
        found = (name, target.value, spread, source.value, distance.value)
        rows.append((*found, *((published.get(name),) if published else ())))
    caption = "Accuracy on held-out images, and how far a linear classifier tells the domains' features apart (0 to 2)."
    return Table(columns, tuple(rows), title="Arms", caption=caption)


def along(trained: AdaptationsTrained, names: Iterable[str], published: Mapping[str, float]) -> list[Block]:
    """What changes from epoch to epoch, from the first seed."""
    blocks: list[Block] = []
    names = list(names)
    for key, (title, y_title) in _ALONG.items():
        series = []
        for name in names:
            history = trained.outcomes[name][0].history
            steps, values = history.column(key)
            if len(steps):
                series.append(Series(name, steps / history.rows[-1]["step"], values))
        references = tuple((f"{k} (published)", v) for k, v in published.items()) if key == TARGET_ACCURACY else ()
        if not series:  # as of confident predictions, where there is none
            continue
        blocks.append(
            Curves(tuple(series), "fraction of training steps", y_title, title, CAPTIONS[title], references=references)
        )
    return blocks


def maps(trained: AdaptationsTrained, names: Iterable[str], session: Session) -> list[Block]:
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
            blocks.append(Curves(series, "t-SNE 1", "t-SNE 2", f"Features of {name}, {title}", PLACES))
    return blocks


def validators_table(validators: Mapping[str, Trust]) -> Table:
    """Each validator in a row."""
    columns = (Column("validator"), Column("rank correlation", ".3f"), Column("regret", ".4f"))
    caption = (
        "How well label-free scores order all epochs of all adapted arms by their target accuracy, and how much "
        "accuracy the choice by each loses against the best candidate."
    )
    rows = tuple((name, found.correlation, found.regret) for name, found in validators.items())
    return Table(columns, rows, title="Choosing without labels", caption=caption)


def notes(trained: AdaptationsTrained) -> list[Note]:
    """What diverged, and how to read the figures."""
    text = (
        "Target labels measure, and choose nothing: every arm is measured at the epoch with the best InfoMax score "
        "(source-only arms: the best accuracy on held-out source images). Means over seeds with 95 % Student "
        "intervals; one seed has none."
    )
    return [*(Note(said, "Diverged", "warning") for said in trained.runs.diverged), Note(text, "How to read this")]


def factors(trained: AdaptationsTrained, names: Mapping[float, str]) -> list[Block]:
    """Accuracy by the largest factor of the reversal; nothing where one was not trained."""
    if not all(name in trained.outcomes for name in names.values()):
        return []
    series = []
    for domain in ("target", "source"):
        found = [trained.runs.mean(name, f"accuracy/{domain}") for name in names.values()]
        x = np.array([max(factor, 1e-3) for factor in names])
        low, high = (np.array([getattr(e, end) for e in found]) for end in ("low", "high"))
        band = (low, high) if np.isfinite(low).all() else (None, None)
        series.append(Series(domain, x, np.array([e.value for e in found]), *band))
    return [
        Curves(tuple(series), "largest reversal factor", "accuracy", "Influence of the factor", FACTORS, x_scale="log")
    ]


def compared(trained: AdaptationsTrained, base: str, prefix: str, title: str, called: str) -> list[Block]:
    """What each change does to target accuracy, compared seed by seed."""
    rows = []
    for name, runs in trained.outcomes.items():
        if name.startswith(prefix):
            change = trained.runs.gap(name, base, TARGET_ACCURACY)
            interval = (change.low, change.high) if len(runs) > 1 else (None, None)
            rows.append(
                (name.removeprefix(prefix), trained.runs.mean(name, TARGET_ACCURACY).value, change.value, *interval)
            )
    if not rows:
        return []
    columns = (Column("change"), Column("target", ".4f"))
    columns += tuple(Column(word, "+.4f") for word in ("difference", "low", "high"))
    whole = trained.runs.mean(base, TARGET_ACCURACY)
    caption = f"Target accuracy against {called} ({whole}), paired by seed, 95 % Student intervals."
    return [Table(columns, tuple(rows), title=title, caption=caption)]
