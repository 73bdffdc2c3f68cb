"""`deepscope gan train`: train a generator of images like those of a dataset or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from deepscope.command import Command, Keeping
from deepscope.errors import SettingError
from deepscope.gans import (
    Architecture,
    NonSaturating,
    Objective,
    Recipe,
    load_pictures,
    r1_regularised,
    save,
    train_gan,
)
from deepscope.presenters.gan_train import present
from deepscope.registry import plain_value
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Overrides
from deepscope.training import CHECKPOINT


@dataclass(frozen=True)
class GanTrain(Command):
    """Train a DCGAN on a dataset of digits or on any folder of images.

    The checkpoint, the generator and a sheet of samples are written to --out after each epoch; the same command
    resumes an interrupted training.

    Attributes:
        data: mnist, mnist-extract, mnist-m, or a folder of images, or a folder with one folder per class.
        objective: the adversarial loss.
        conditional: also learn the classes, so that images of a class can be requested.
        stack: train on this many images whose three colour channels are random grey digits (1000 modes).
        hold_out: training images to set aside: `gan evaluate` uses them in place of the test images, so that settings
            can be compared without the test images.
        evaluator: folder of `gan evaluator`, to count modes during training; by default the one in the package,
            where it knows these images.
        r1_regularised: use a discriminator without normalisation, regularised by the R1 penalty, and matching learning
            rates, as in `study generation`: better and more varied digits than with DCGAN's settings.
        tensorboard: also write TensorBoard's events.
        architecture: settings of the networks that differ from their defaults.
        recipe: settings of the training that differ from their defaults.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "train"
    renamed: ClassVar[Mapping[str, str]] = {"judge": "evaluator", "steady": "r1_regularised"}
    example: ClassVar[str] = "deepscope gan train mnist --conditional --out digits/"
    makes: ClassVar[tuple[str, ...]] = ("generator.json", CHECKPOINT)

    data: str
    _: KW_ONLY
    objective: Objective = NonSaturating()
    conditional: bool = False
    stack: int | None = None
    hold_out: int = 0
    evaluator: Path | None = None
    r1_regularised: bool = False
    tensorboard: bool = False
    architecture: Annotated[Mapping[str, Any], Overrides(Architecture)] = field(default_factory=dict)
    recipe: Annotated[Mapping[str, Any], Overrides(Recipe)] = field(default_factory=dict)

    def run(self, session: Session) -> Result:
        """Train, save, and show the course of the training."""
        out = session.require_out("the generator")
        if self.stack is not None and self.conditional:
            raise SettingError("stack", "cannot be combined with {conditional}")
        architecture, recipe = self._made()
        architecture.require_buildable(conditional=self.conditional)
        recipe.require_trainable(architecture)
        trained = train_gan(
            load_pictures(self.data, architecture.side, session, hold_out=self.hold_out, stack=self.stack),
            architecture=architecture,
            recipe=recipe,
            conditional=self.conditional,
            evaluator=self.evaluator,
            folder=out,
            tensorboard=self.tensorboard,
            session=session,
        )
        keeping = Keeping("the generator")
        with keeping:
            save(out, trained.gan)
        return keeping.done(present(trained))

    def settings(self) -> dict[str, Any]:
        """All flags, those of the networks and the training among them."""
        nested = {**vars(self._given()[0]), **vars(self._given()[1])}
        own = {name: value for name, value in super().settings().items() if name not in ("architecture", "recipe")}
        return {**{name: plain_value(value) for name, value in nested.items()}, **own}

    def _given(self) -> tuple[Architecture, Recipe]:
        return Architecture(**self.architecture), Recipe(objective=self.objective, **self.recipe)

    def _made(self) -> tuple[Architecture, Recipe]:
        given = self._given()
        if not self.r1_regularised:
            return given
        made = r1_regularised(*given)
        for own, regularised in zip(given, made, strict=True):
            for name, value in vars(regularised).items():
                if name in {**self.architecture, **self.recipe} and vars(own)[name] != value:
                    raise SettingError("r1_regularised", f"sets {{{name}}} itself: leave one of them out")
        return made
