"""How the result of `deepscope gan train` is shown."""

from __future__ import annotations

from deepscope.gans import (
    TrainedGAN,
    diagnose,
)
from deepscope.names import counted
from deepscope.presenters.gan_figures import scale_of
from deepscope.render import presents
from deepscope.results import Animation, Block, Curves, ImageGrid, Note, Picture, Provenance, Result, Series
from deepscope.training import History

_CURVES = {
    "Losses": ("loss", ("loss/discriminator", "loss/generator", "loss/penalty")),
    "Output of the discriminator": ("score", ("score/real", "score/fake")),
    "Gradient norms": ("L2 norm of the gradient", ("gradient/discriminator", "gradient/generator")),
    "Diversity of the samples": ("diversity, relative to real images", ("diversity",)),
    "Modes": ("number of classes", ("modes", "modes/real")),
    "Fréchet distance of 1000 samples": ("Fréchet distance", ("watched-fid",)),
    "Augmentation": ("probability of each transform", ("augmentation/probability",)),
    "Samples of the requested class": ("fraction of samples", ("fidelity", "fidelity/real")),
}


@presents(TrainedGAN)
def present(found: TrainedGAN) -> Result:
    """The course of the training: problems, samples and curves."""
    side = found.gan.architecture.side
    return Result(
        title=f"{'Conditional ' if found.gan.labelled else ''}DCGAN on {found.data}",
        metrics={name: value for name, value in found.history.rows[-1].items() if name != "step"},
        blocks=(
            *(Note(text, "Trouble", "warning") for text in diagnose(found.history)),
            *(Note(f"{remark[0].upper()}{remark[1:]}.", "Images") for remark in found.remarks),
            *_sheets(found),
            *curves(found.history),
            *_next(found),
        ),
        provenance=Provenance(
            data=f"{counted(found.images, 'image')} of {found.data} at {side} x {side}{_augmented(found)}"
        ),
    )


def _augmented(found: TrainedGAN) -> str:
    return "" if found.augment == "none" else f", augmented by {found.augment}"


def curves(history: History) -> tuple[Block, ...]:
    """Losses, scores, gradients and diversity during training; what was not measured is left out."""
    blocks = []
    for title, (y_title, names) in _CURVES.items():
        found = [(name, *history.column(name)) for name in names]
        series = tuple(Series(name, steps, values) for name, steps, values in found if len(steps))
        if series:
            blocks.append(Curves(series, "training step", y_title, title, y_scale=scale_of(series)))
    return tuple(blocks)


def _sheets(found: TrainedGAN) -> tuple[Block, ...]:
    """The last sheet, and the ones before it."""
    steps, classes = found.sheet_steps, found.gan.classes
    caption = f"One column for each of {', '.join(classes)}; one row per z." if 1 < len(classes) <= 10 else ""
    last = ImageGrid(((Picture(found.sheets[-1], caption=f"step {steps[-1]}"),),), "Samples", caption)
    if found.folder is None:
        return (last,)
    captions = tuple(f"step {step}" for step in steps)
    return last, Animation(found.sheets, "The training", "The same z after each epoch.", captions=captions)


def _next(found: TrainedGAN) -> tuple[Block, ...]:
    if found.folder is None:
        return ()
    return (Note(f"`deepscope gan sample {found.folder}` makes images, `gan evaluate` measures them.", "Next"),)
