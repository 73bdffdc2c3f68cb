"""The real images that a generator is measured against: its own, unless others are named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from deepscope.data import Dataset
from deepscope.errors import DataError, SettingError
from deepscope.gans.pictures import Pictures, load_pictures, same_data
from deepscope.gans.quality import FEWEST, Evaluator, fitting_evaluator
from deepscope.gans.saved import GAN
from deepscope.inputs import Images
from deepscope.names import counted
from deepscope.session import Session


def material(
    gan: GAN, data: Images | Pictures | None, evaluator: Evaluator | str | Path | None, session: Session
) -> tuple[Pictures, Evaluator | None]:
    """The real images that a generator is measured against, and what recognises their classes.

    Raises:
        DataError: they are not like the generator's.
        SettingError: no data is named, and the generator's own is not where it was.
    """
    own = data is None or (isinstance(data, (str, Path)) and same_data(str(data), gan.data))
    if data is None:
        _require_there(gan)
    pictures = load_pictures(gan.data if data is None else data, gan.architecture.side, session)
    own = own or (gan.listing != "" and not pictures.held_out and pictures.listing == gan.listing)  # it was moved
    if own:
        pictures = load_pictures(pictures, pictures.side, session, hold_out=gan.held_out)
    if gan.stacked and not pictures.stacked:  # those that it learnt from
        drawing = session if gan.stack_seed is None else replace(session, seed=gan.stack_seed)
        pictures = load_pictures(pictures, pictures.side, drawing, stack=gan.learnt or len(pictures))
    elif own and _changed(gan, pictures):
        raise DataError(
            f"{pictures.name} has changed since {gan.name} learnt from it (other files, names or sizes), so images "
            f"that it learnt from may be held out now: restore it, or train again",
            data=pictures.name,
        )
    found = fitting_evaluator(evaluator, pictures)
    if pictures.channels != gan.channels or (gan.labelled and pictures.classes != gan.classes):
        other = sorted(set(gan.classes) ^ set(pictures.classes))
        lacks = f"; {other[0]!r} is a class of one of them only" if gan.labelled and other else ""
        raise DataError(
            f"{pictures.name} is not like what the generator makes ({gan.channels} channels, {len(gan.classes)} "
            f"classes; {pictures.channels} and {len(pictures.classes)} there{lacks}): name the generator's own data",
            data=pictures.name,
        )
    return pictures, found.to(session.device) if found else None


def _require_there(gan: GAN) -> None:
    """Raises SettingError where the generator's own data is neither a dataset nor a folder that is there."""
    if gan.data not in Dataset.members() and not os.path.isdir(os.path.expanduser(gan.data)):  # noqa: PTH111, PTH112
        where = f"it learnt from {gan.data[:200]!r}, which does not exist"
        raise SettingError("data", f"must name the data that {gan.name} learnt from: {where}")


def _changed(gan: GAN, pictures: Pictures) -> bool:
    """Whether a folder is not as it was when the generator learnt from it."""
    if gan.listing or not pictures.listing:
        return gan.listing != pictures.listing
    return gan.learnt not in (0, len(pictures))  # of a version that counted images only


def require_enough(pictures: Pictures) -> None:
    """Raises DataError where there are too few images for precision and recall."""
    fewest = min(len(pictures.test), len(pictures))
    if fewest < FEWEST:
        which = "held-out" if fewest == len(pictures.test) else "training"
        raise DataError(
            f"{pictures.name} has {counted(fewest, f'{which} image')}, and quality needs at least "
            f"{FEWEST}: add images, or train a generator with more of them held out",
            data=pictures.name,
        )
