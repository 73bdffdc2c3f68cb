"""`deepscope gan train`: learn to make images like those of a dataset or a folder."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import ClassVar, TypeVar

from deepscope.commands.command import Command, Keeping
from deepscope.errors import DeepscopeError
from deepscope.gans import (
    Architecture,
    Film,
    Recipe,
    Trained,
    diagnose,
    load_pictures,
    save,
    stacked,
    steady,
    train_gan,
)
from deepscope.gans.quality import fitting_judge
from deepscope.results import Animation, Block, Curves, ImageGrid, Note, Picture, Provenance, Result, Series
from deepscope.session import Session
from deepscope.training import CHECKPOINT, History

Settings = TypeVar("Settings", Architecture, Recipe)

_CURVES = {
    "Losses": ("loss", ("loss/discriminator", "loss/generator", "loss/penalty")),
    "What the discriminator says": ("score", ("score/real", "score/fake")),
    "Gradient norms": ("L2 norm", ("gradient/discriminator", "gradient/generator")),
    "Diversity of the samples": ("of the real images'", ("diversity",)),
    "Modes": ("classes", ("modes", "modes/real")),
    "Frechet distance of 1000 samples": ("distance", ("watched-fid",)),
    "Samples of the class that was asked for": ("share", ("fidelity", "fidelity/real")),
}


@dataclass(frozen=True)
class GanTrain(Architecture, Recipe, Command):
    """Train a DCGAN on a dataset of digits or on any folder of images.

    The checkpoint, the generator and a sheet of samples are written to --out after each epoch; the same command goes on
    where it was stopped. --precision bfloat16 trains in mixed precision.

    Attributes:
        data: mnist, mnist-extract, mnist-m, or a folder of images or of a folder for each class.
        conditional: learn the classes too, so that images of one can be asked for.
        stack: put three random grey digits into the colours of each image, 1000 modes, and train on so many.
        hold_out: training images to keep back: `gan evaluate` measures by them, not by the test images, so that
            settings can be compared without a look at those.
        judge: folder of `gan judge`, to count modes along the training; the one in the package where it fits.
        steady: a discriminator without normalisation, which the R1 penalty keeps in check, and the rates that suit it,
            as `study generation` trains: better and more varied digits than with DCGAN's own settings.
        tensorboard: also write TensorBoard's events.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "train"
    example: ClassVar[str] = "deepscope gan train mnist --conditional --precision bfloat16 --out digits/"
    makes: ClassVar[tuple[str, ...]] = ("generator.json", CHECKPOINT)

    data: str
    _: KW_ONLY
    conditional: bool = False
    stack: int | None = None
    hold_out: int = 0
    judge: Path | None = None
    steady: bool = False
    tensorboard: bool = False

    def run(self, session: Session) -> Result:
        """Train, keep, and show how it went."""
        if session.out is None:
            raise DeepscopeError("the generator needs a folder: name one with --out")
        if self.stack is not None and (self.stack < 2 or self.conditional):
            raise DeepscopeError("--stack is at least 2, and goes without --conditional")
        architecture, recipe = self._made()
        architecture.require_buildable(conditional=self.conditional)
        recipe.require_trainable(architecture)
        pictures = load_pictures(self.data, self.side, session, hold_out=self.hold_out)
        judge = fitting_judge(self.judge, pictures.channels, pictures.classes)
        if self.stack is not None:
            pictures = stacked(pictures, self.stack, session)
        trained = train_gan(
            pictures,
            architecture=architecture,
            recipe=recipe,
            conditional=self.conditional,
            session=session,
            folder=session.out,
            judge=judge.to(session.device) if judge else None,
            tensorboard=self.tensorboard,
        )
        keeping = Keeping("the generator")
        with keeping:
            save(session.out, trained.gan)
        last = trained.history.rows[-1]
        result = Result(
            title=f"{'Conditional ' if self.conditional else ''}DCGAN on {self.data}",
            metrics={name: value for name, value in last.items() if name != "step"},
            blocks=(
                *(Note(text, "Trouble", "warning") for text in diagnose(trained.history)),
                *(Note(f"{remark[0].upper()}{remark[1:]}.", "Images") for remark in pictures.remarks),
                *_film(session.out, trained),
                *curves(trained.history),
                Note(f"`deepscope gan sample {session.out}` makes images, `gan evaluate` measures them.", "Next"),
            ),
            provenance=Provenance(data=f"{len(pictures.train)} images of {self.data} at {self.side} x {self.side}"),
        )
        return keeping.done(result)

    def _made(self) -> tuple[Architecture, Recipe]:
        given = self._settings(Architecture), self._settings(Recipe)
        if not self.steady:
            return given
        for own, usual, set_ in zip(given, (Architecture(), Recipe()), steady(*given), strict=True):
            for name, value in vars(own).items():
                if value != vars(usual)[name] and value != vars(set_)[name]:
                    raise DeepscopeError(f"--steady decides --{name.replace('_', '-')} itself: leave one of them out")
        return steady(*given)

    def _settings(self, kind: type[Settings]) -> Settings:
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})


# Every setting is a flag, and explained in one place.
GanTrain.__doc__ = f"{GanTrain.__doc__}".rstrip() + "".join(
    "\n" + f"{kind.__doc__}".partition("Attributes:\n")[2].rstrip() for kind in (Architecture, Recipe)
)


def curves(history: History) -> tuple[Block, ...]:
    """Losses, scores, gradients and variety along the training; what was not measured is left out."""
    blocks = []
    for title, (y_title, names) in _CURVES.items():
        found = [(name, *history.column(name)) for name in names]
        series = tuple(Series(name, steps, values) for name, steps, values in found if len(steps))
        if series:
            blocks.append(Curves(series, "step", y_title, title))
    return tuple(blocks)


def _film(folder: Path, trained: Trained) -> tuple[Block, ...]:
    """The last sheet, and the way to it."""
    try:
        frames, steps = Film(folder / "sheets").frames()
    except ValueError:  # no sheet could be written
        return ()
    classes = trained.gan.classes
    caption = f"A column for each of {', '.join(classes)}; a row for each z." if 1 < len(classes) <= 10 else ""
    return (
        ImageGrid(((Picture(frames[-1], caption=f"step {steps[-1]}"),),), "Samples", caption),
        Animation(frames, "The training", "The same z after each epoch.", captions=tuple(f"step {s}" for s in steps)),
    )
