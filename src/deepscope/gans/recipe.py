"""How a GAN is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from deepscope.errors import SettingError
from deepscope.gans.architecture import Architecture
from deepscope.gans.augmentation import Augment
from deepscope.gans.objectives import NonSaturating, Objective
from deepscope.registry import plain_value
from deepscope.settings import Count, Positive, Range, check

_R1_EVERY = 16
_R1_FALLS = 1872  # steps: four epochs of MNIST in batches of 128


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimisers, schedule, and how often each network is updated.

    Attributes:
        objective: the adversarial loss.
        epochs: passes over the training images.
        batch_size: images per update.
        rate: learning rate of Adam for both networks; falls linearly to 0 over the second half.
        beta1: Adam's decay of the mean of gradients.
        beta2: Adam's decay of the mean of squared gradients.
        discriminator_steps: updates of the discriminator per step, each on new images; 0 leaves it untrained.
        generator_steps: updates of the generator per step; 0 leaves it untrained.
        r1: weight of the R1 penalty (Mescheder et al. 2018) on the discriminator; 0 disables it. It is applied every 16
            steps with 16 times the weight (Karras et al. 2020).
        r1_last: the weight to which it falls, by the same factor each step, over the first 1872 steps: strong while
            the discriminator would win, weak once fine differences matter. By default it stays constant.
        augment: augment all images that the discriminator sees: by "diffaugment" (colour, translation and cutout of
            each image, Zhao et al. 2020), by "ada" (the same with a probability that follows the discriminator's
            overfitting, Karras et al. 2020), or "none". "auto" is "diffaugment" below 10,000 training images.
        average: decay of the moving average of the generator, which makes the images; 0 uses the last weights.
    """

    objective: Objective = NonSaturating()
    epochs: Count = 20
    batch_size: Annotated[int, Range(2)] = 128
    rate: Positive = 5e-4
    beta1: float = 0.5
    beta2: float = 0.999
    discriminator_steps: int = 1
    generator_steps: int = 1
    r1: float = 0.0
    r1_last: float | None = None
    augment: Augment = "auto"
    average: float = 0.995

    def require_trainable(self, architecture: Architecture) -> None:
        """Raises SettingError where a setting is out of range, or cannot be combined with another one."""
        check(self)
        if self.discriminator_steps + self.generator_steps < 1:
            raise SettingError("discriminator_steps", "must be at least 1 where {generator_steps} is 0")
        for name in ("average", "beta1", "beta2"):
            if not (share := getattr(self, name)) < 1:
                raise SettingError(name, "must be at least 0 and below 1", got=share)
        if self.r1_last is not None and not 0 < self.r1_last <= self.r1:
            raise SettingError("r1_last", "must be above 0 and at most {r1}, from which it falls", got=self.r1_last)
        if self.augment == "ada" and self.objective.boundary is None:
            problem = f"must be diffaugment, none or auto: {self.objective.name} does not say which images are real"
            raise SettingError("augment", problem, got="ada")
        if self.batch_size % architecture.packing:
            problem = f"must be a multiple of {{packing}}, {architecture.packing}"
            raise SettingError("batch_size", problem, got=self.batch_size)
        if architecture.normalisation == "batch" and (self.r1 or self.objective.per_image):
            what = "{r1}" if self.r1 else self.objective.name
            raise SettingError(
                "normalisation",
                f"must be none, layer or spectral: {what} needs logits that depend on one image each",
                got="batch",
            )

    def recorded(self) -> dict[str, Any]:
        """What a checkpoint says of it, ready for JSON; those of versions without augmentation say nothing of that."""
        left_out = {"epochs", *(("augment",) if self.augment == "none" else ())}
        return {name: plain_value(value) for name, value in vars(self).items() if name not in left_out}

    def r1_at(self, step: int) -> float:
        """The weight of the R1 penalty at a step; 0 where it is not applied."""
        if step % _R1_EVERY:
            return 0.0
        fall = 1.0 if self.r1_last is None else (self.r1_last / self.r1) ** min(1.0, step / _R1_FALLS)
        return _R1_EVERY * self.r1 * fall

    def rate_at(self, progress: float) -> float:
        """The learning rate after a share of the training."""
        return self.rate * min(1.0, 2 * (1 - progress))


def r1_regularised(architecture: Architecture, recipe: Recipe) -> tuple[Architecture, Recipe]:
    """The same training with a discriminator that is regularised by R1 and not normalised.

    Batch normalisation lets a discriminator tell real batches from generated ones, and the generator then cannot know
    which of its images gave it away. Without it the images are better and more varied. Chosen on digits of 32 x 32;
    where there are very many kinds, as in a thousand stacks of digits, most are lost once R1 is weak.
    """
    architecture = replace(architecture, normalisation="none", label_in_discriminator="projected")
    return architecture, replace(recipe, rate=2e-3, beta1=0.0, beta2=0.99, r1=10.0, r1_last=0.05)
