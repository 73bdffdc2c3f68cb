"""How a GAN is trained."""

from __future__ import annotations

from dataclasses import dataclass

from deepscope.errors import InputError
from deepscope.gans.architecture import Architecture
from deepscope.gans.objectives import NonSaturating, Objective


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimisers, schedule and the two players' turns.

    Attributes:
        objective: the game.
        epochs: passes over the training images.
        batch_size: images a turn.
        rate: learning rate of Adam for both networks; falls linearly to 0 over the second half.
        beta1: Adam's momentum.
        discriminator_steps: turns of the discriminator a step, each with new images; 0 leaves it as it was made.
        generator_steps: turns of the generator a step; 0 leaves it as it was made.
        r1: weight of the R1 penalty (Mescheder et al. 2018) on the discriminator; 0 does without.
        average: decay of the moving average of the generator, which makes the images; 0 takes the last one.
    """

    objective: Objective = NonSaturating()
    epochs: int = 20
    batch_size: int = 128
    rate: float = 5e-4
    beta1: float = 0.5
    discriminator_steps: int = 1
    generator_steps: int = 1
    r1: float = 0.0
    average: float = 0.995

    def require_trainable(self, architecture: Architecture) -> None:
        """Raises InputError where nothing can be trained so."""
        if self.epochs < 1 or self.rate <= 0 or self.batch_size < 2:
            raise InputError("--epochs is at least 1, --batch-size at least 2, --rate above 0")
        if (
            min(self.discriminator_steps, self.generator_steps) < 0
            or self.discriminator_steps + self.generator_steps < 1
        ):
            raise InputError("one of --discriminator-steps and --generator-steps is at least 1, none below 0")
        if not (0 <= self.average < 1 and 0 <= self.beta1 < 1 and self.r1 >= 0):
            raise InputError("--average and --beta1 are at least 0 and below 1, --r1 is not negative")
        if self.batch_size % architecture.packing:
            raise InputError(f"--batch-size {self.batch_size} is no multiple of --packing {architecture.packing}")
        if architecture.normalisation == "batch" and (self.r1 or self.objective.per_image):
            what = "--r1" if self.r1 else self.objective.name
            raise InputError(
                f"{what} needs a discriminator that judges each image by itself: --normalisation layer or spectral"
            )

    def rate_at(self, progress: float) -> float:
        """The learning rate at a share of the training."""
        return self.rate * min(1.0, 2 * (1 - progress))
