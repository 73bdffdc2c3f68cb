"""`audit`: all checks of a classifier, on one page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from deepscope.checks import Check
from deepscope.checks.given_data import GivenData
from deepscope.checks.held_out import held_out
from deepscope.checks.pace import Pace
from deepscope.command import Budget
from deepscope.errors import SettingError, unknown
from deepscope.gallery import Gallery
from deepscope.inputs.examples import Data
from deepscope.models import VisionModel, capabilities
from deepscope.names import short
from deepscope.render import Presented, explores, presents
from deepscope.report.card import ModelCard
from deepscope.report.explorer import explored
from deepscope.report.keeping import Outcome, Shelf
from deepscope.report.overview import overview
from deepscope.report.page import page, refuse_foreign, write
from deepscope.report.requirements import assess, parsed
from deepscope.report.running import run
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import FigureFormat


@dataclass(frozen=True, eq=False)
class Audit(Presented):
    """What the checks found.

    Attributes:
        title: of the page.
        introduction: what was run, on what, and in which budget.
        outcomes: one per check, in the order of the page.
        card: the model card, with the verdict on what was required.
    """

    title: str
    introduction: str
    outcomes: tuple[Outcome, ...]
    card: ModelCard

    @property
    def metrics(self) -> dict[str, float]:
        """All figures, by "check/metric"."""
        return {
            f"{outcome.section.name}/{name}": value
            for outcome in self.outcomes
            for name, value in outcome.result.metrics.items()
        }

    def page(self) -> str:
        """The self-contained HTML page, as `deepscope report` writes it."""
        return page(self.outcomes, title=self.title, introduction=self.introduction, card=self.card)

    def save(self, folder: str | Path, *, figure_format: FigureFormat = "png") -> Path:
        """Write the page: to the file where the path ends in .html, else to index.html in the folder.

        The page holds its figures, so `figure_format` changes nothing here.
        """
        path = Path(folder)
        if path.suffix.lower() not in (".html", ".htm"):
            path = path / "index.html"
        refuse_foreign(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, self.page())
        return path

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per figure: check, metric, value."""
        names = [name.partition("/") for name in self.metrics]
        return {
            "check": [check for check, _, _ in names],
            "metric": [metric for _, _, metric in names],
            "value": list(self.metrics.values()),
        }


def audit(  # noqa: PLR0913  (the public face)
    model: VisionModel,
    data: Data,
    *,
    train: Data | None = None,
    labels: str | Path | None = None,
    budget: Budget = "quick",
    checks: Sequence[str] = (),
    require: Sequence[str] = (),
    seed: int = 0,
    session: Session | None = None,
) -> Audit:
    """Examine a classifier before it is shipped: accuracy, calibration, explanations, robustness, leaks.

    Finished checks are kept in the cache: an audit that was interrupted resumes, and a check runs again where the
    model, the data or deepscope's code has changed.

    Args:
        model: the classifier.
        data: a folder with one folder of images per class, with or without `train/` and `test/`; the name of a
            dataset; or (image, label) pairs in any form, such as a torchvision dataset. Labels are class numbers or
            names.
        train: the images that the model was trained on, in the same forms, where `data` does not include them. They are
            only compared with the others: copies in both make the accuracy look better than it is.
        labels: a CSV file with the labels of each image, for a model with several per image, whose `data` is a folder;
            by default `labels.csv` in it.
        budget: "quick" takes minutes, "full" as long as the full data needs.
        checks: names of the checks to run; all by default.
        require: bounds such as "accuracy>=0.9", on the figure that a check shows first or on any "CHECK/METRIC"; the
            card says which are met.
        seed: of every random draw.
        session: device, precision, folders and progress; its own seed counts where it is given.

    Raises:
        DataError: the data does not exist, holds no class folders or labels, or none of the model's classes.
        SettingError: the data has training images of its own, and `train` gives others.
        ModelError: the model has no class layer.

    Example:
        >>> import deepscope as ds
        >>> model = ds.load_model("my-model")  # doctest: +SKIP
        >>> ds.audit(model, "photos/").save("audit.html")  # doctest: +SKIP
        >>> ds.audit(model, test_set, train=training_set).metrics  # doctest: +SKIP
        >>> ds.audit(model, "photos/", require=["accuracy>=0.9"]).card.verdict  # doctest: +SKIP
        'pass'
    """
    capabilities.require(model, "audit", capabilities.SCORES)
    session = Session.of(session, device=model.device, seed=seed)
    session = replace(session, models={**session.models, model.name: model})
    if (train is None or model.head.kind == "multilabel") and isinstance(data, (str, Path)):
        name, place = str(data), str(Path(data).absolute())
    else:
        if model.head.kind == "multilabel":
            raise SettingError("data", f"must be a folder: {model.name} has several labels per image")
        held = GivenData.of(data, train, session)
        name, place = held.images.name, held.digest
        session = replace(session, data={**session.data, name: held})
    required = parsed(require)
    members = Check.members()
    checks = [checks] if isinstance(checks, str) else checks
    if not isinstance(cast("object", checks), Sequence):
        raise SettingError("checks", "must be names of checks", got=checks)
    for check in checks:
        if check not in members:
            raise unknown("check", check, members)
    listed = None if labels is None else str(labels)
    held = held_out(model.name, name, session, listed)  # refused now rather than in every check
    wanted = sorted(
        (member for name, member in members.items() if not checks or name in checks),
        key=lambda member: (member.chapter, member.name),
    )
    chosen = [replace(member.within(budget, data=name, model=model.name), labels=listed) for member in wanted]
    key = hashlib.sha256(f"{model.identity}\0{place}".encode()).hexdigest()[:16]
    shelf = Shelf(session.cache / "audits" / key, session, model.identity)
    *_, state = run(chosen, shelf, budget, Pace.of(held, session))
    card = ModelCard.of(model, name, state.outcomes, assess(required, state.outcomes))
    return Audit(f"{model.title} on {short(name)}", state.said, state.outcomes, card)


@explores(Audit)
def gallery(found: Audit) -> Gallery:
    """Every evaluated image, with what the checks measured of it."""
    known = explored(found.outcomes)
    return Gallery((), title=found.title) if known is None else replace(known, title=found.title)


@presents(Audit)
def present(found: Audit) -> Result:
    """The table at the top of the page, with all figures."""
    return replace(overview(found.outcomes), title=found.title, metrics=found.metrics)
