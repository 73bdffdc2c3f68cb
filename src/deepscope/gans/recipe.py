"""How a GAN is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepscope.errors import DeepscopeError
from deepscope.gans.architecture import Architecture
from deepscope.gans.objectives import NonSaturating, Objective

_R1_EVERY = 16
_R1_FALLS = 1872  # steps: four epochs of MNIST in batches of 128


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimisers, schedule and the two players' turns.

    Attributes:
        objective: the game.
        epochs: passes over the training images.
        batch_size: images a turn.
        rate: learning rate of Adam for both networks; falls linearly to 0 over the second half.
        beta1: Adam's momentum.
        beta2: how slowly Adam forgets the size of gradients.
        discriminator_steps: turns of the discriminator a step, each with new images; 0 leaves it as it was made.
        generator_steps: turns of the generator a step; 0 leaves it as it was made.
        r1: weight of the R1 penalty (Mescheder et al. 2018) on the discriminator; 0 does without. It is taken every 16
            steps, 16 times as strong (Karras et al. 2020).
        r1_last: the weight to which it falls, by the same factor each step, over the first 1872 steps: strong while
            the discriminator would win, weak when fine differences count. By default it stays.
        average: decay of the moving average of the generator, which makes the images; 0 takes the last one.
    """

    objective: Objective = NonSaturating()
    epochs: int = 20
    batch_size: int = 128
    rate: float = 5e-4
    beta1: float = 0.5
    beta2: float = 0.999
    discriminator_steps: int = 1
    generator_steps: int = 1
    r1: float = 0.0
    r1_last: float | None = None
    average: float = 0.995

    def require_trainable(self, architecture: Architecture) -> None:
        """Raises DeepscopeError where nothing can be trained so."""
        if self.epochs < 1:
            raise DeepscopeError(f"--epochs {self.epochs} is out of range: give at least 1")
        if self.batch_size < 2:
            raise DeepscopeError(f"--batch-size {self.batch_size} is out of range: give at least 2")
        if not self.rate > 0:
            raise DeepscopeError(f"--rate {self.rate:g} is out of range: give a number above 0")
        if (
            min(self.discriminator_steps, self.generator_steps) < 0
            or self.discriminator_steps + self.generator_steps < 1
        ):
            raise DeepscopeError("one of --discriminator-steps and --generator-steps is at least 1, none below 0")
        for name in ("average", "beta1", "beta2"):
            if not 0 <= (share := getattr(self, name)) < 1:
                raise DeepscopeError(f"--{name} {share:g} is out of range: give a number from 0 to below 1")
        if not self.r1 >= 0:
            raise DeepscopeError(f"--r1 {self.r1:g} is out of range: give 0 or more")
        if self.r1_last is not None and not 0 < self.r1_last <= self.r1:
            raise DeepscopeError("--r1-last is above 0 and no more than --r1, from which the weight falls")
        if self.batch_size % architecture.packing:
            raise DeepscopeError(f"--batch-size {self.batch_size} is no multiple of --packing {architecture.packing}")
        if architecture.normalisation == "batch" and (self.r1 or self.objective.per_image):
            what = "--r1" if self.r1 else self.objective.name
            raise DeepscopeError(
                f"{what} needs a discriminator that judges images one by one: --normalisation none, layer or spectral"
            )

    def r1_at(self, step: int) -> float:
        """The weight of the R1 penalty at a step; 0 where it is not taken."""
        if step % _R1_EVERY:
            return 0.0
        fall = 1.0 if self.r1_last is None else (self.r1_last / self.r1) ** min(1.0, step / _R1_FALLS)
        return _R1_EVERY * self.r1 * fall

    def rate_at(self, progress: float) -> float:
        """The learning rate at a share of the training."""
        return self.rate * min(1.0, 2 * (1 - progress))


def steady(architecture: Architecture, recipe: Recipe) -> tuple[Architecture, Recipe]:
    """The same training with a discriminator that R1 keeps in check, not normalisation.

    Batch normalisation lets a discriminator tell real batches from generated ones, and the generator then cannot know
    which of its images gave it away. Without it the images are better and more varied. Chosen on digits of 32 x 32;
    where there are very many kinds, as in a thousand stacks of digits, most are lost once R1 is weak.
    """
    architecture = replace(architecture, normalisation="none", label_in_discriminator="projected")
    return architecture, replace(recipe, rate=2e-3, beta1=0.0, beta2=0.99, r1=10.0, r1_last=0.05)
