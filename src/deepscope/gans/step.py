"""One step of GAN training: the discriminator's updates, then the generator's; everything computed is used."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Adam, Optimizer

from deepscope.gans.augmentation import Augmentation
from deepscope.gans.networks import Discriminator, Generator
from deepscope.gans.penalties import r1
from deepscope.gans.pictures import Labelled
from deepscope.gans.recipe import Recipe
from deepscope.session import Session
from deepscope.training import Moment, Shuffled, Update


class GANStep:
    """What GAN training brings to `training.fit`.

    The first images of a step are generated once: the discriminator learns from them as they are, the generator through
    them. Each network's weights get gradients only in its own updates.

    Args:
        generator, discriminator: to train.
        recipe: how.
        augmentation: of all images that the discriminator sees; None for none.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        recipe: Recipe,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.generator, self.discriminator, self.recipe = generator, discriminator, recipe
        self.augmentation = augmentation
        self.average = copy.deepcopy(generator).requires_grad_(False)
        self._optimisers = {
            name: Adam(network.parameters(), recipe.rate, betas=(recipe.beta1, recipe.beta2), fused=True)
            for name, network in (("generator", generator), ("discriminator", discriminator))
        }

    @property
    def parts(self) -> Mapping[str, nn.Module | Optimizer]:
        """Both networks, the generator's average, both optimisers; the augmentation where there is one."""
        networks = {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}
        if self.augmentation is not None:
            networks = {**networks, "augmentation": self.augmentation}
        return {**networks, **{f"optimiser/{name}": optimiser for name, optimiser in self._optimisers.items()}}

    def __call__(self, batch: tuple[Tensor, Tensor], moment: Moment, update: Update) -> Mapping[str, Tensor]:
        """One step on images (K, N, C, H, W) uint8 and labels (K, N), for K >= 1 updates of the discriminator.

        Images are generated for the labels of the real ones, so both networks see each class equally often.
        """
        images, labels = batch
        recipe, objective = self.recipe, self.recipe.objective
        for optimiser in self._optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate_at(moment.progress)
        figures: dict[str, Tensor] = {}
        with torch.set_grad_enabled(recipe.generator_steps > 0):
            first = self._generate(labels[0], moment, "0")
        for number in range(recipe.discriminator_steps):
            if number == 0:
                fake = first.detach()
            else:
                with torch.no_grad():
                    fake = self._generate(labels[number], moment, str(number))
            figures |= self._teach(as_input(images[number]), fake, labels[number], moment, update, number)
        for number in range(recipe.generator_steps):
            fake = first if number == 0 else self._generate(labels[0], moment, f"generator {number}")
            logits = self.discriminator(self._augmented(fake, moment, f"generator {number}"), labels[0])
            loss = objective.generator(logits)
            self._update(loss, "generator", update)
            figures |= {"loss/generator": loss, "score/fooled": objective.score(logits.detach()).mean()}
            figures["gradient/generator"] = _gradient_norm(self.generator)
        self._move_average(moment)
        return figures

    def _teach(
        self, real: Tensor, fake: Tensor, labels: Tensor, moment: Moment, update: Update, number: int
    ) -> dict[str, Tensor]:
        """One update of the discriminator."""
        recipe, objective = self.recipe, self.recipe.objective
        real, fake = self._augmented(real, moment, f"real {number}"), self._augmented(fake, moment, f"fake {number}")

        def discriminator(images: Tensor) -> Tensor:
            return self.discriminator(images, labels)

        on_real, on_fake = discriminator(real), discriminator(fake)
        loss = objective.discriminator(on_real, on_fake)
        figures = {
            "loss/discriminator": loss,
            "score/real": objective.score(on_real.detach()).mean(),
            "score/fake": objective.score(on_fake.detach()).mean(),
        }
        if self.augmentation is not None and self.augmentation.adaptive:
            assert objective.boundary is not None
            self.augmentation.adapt(on_real.detach() - objective.boundary, packing=self.discriminator.packing)
            figures["augmentation/probability"] = self.augmentation.probability.clone()
        penalty = objective.penalty(discriminator, real, fake, moment.rng("penalty", str(number)))
        if penalty is not None:
            loss = loss + penalty
            figures["loss/penalty"] = penalty
        self._update(loss, "discriminator", update)
        figures["gradient/discriminator"] = _gradient_norm(self.discriminator)
        if weight := recipe.r1_at(moment.step):
            self._update(weight * r1(discriminator, real), "discriminator", update)
        return figures

    def _update(self, loss: Tensor, name: str, update: Update) -> None:
        update(loss, self._optimisers[name])
        torch.clear_autocast_cache()  # it holds the weights as they were before

    def _augmented(self, images: Tensor, moment: Moment, stream: str) -> Tensor:
        if self.augmentation is None:
            return images
        return self.augmentation(images, moment.rng("augmentation", stream))

    def _generate(self, labels: Tensor, moment: Moment, stream: str) -> Tensor:
        z = torch.randn(len(labels), self.generator.latent, generator=moment.rng("z", stream))
        return self.generator(z.to(labels.device), labels)

    @torch.no_grad()
    def _move_average(self, moment: Moment) -> None:
        """The decay grows with the steps: the first weights are soon forgotten."""
        decay = min(self.recipe.average, (1 + moment.step) / (10 + moment.step))
        for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)
        for kept, new in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            kept.copy_(new)


class GANBatches:
    """Real images and their labels, a batch for each update of the discriminator in a step.

    Args:
        data: to train on, at least `updates` batches.
        size: images per batch.
        updates: of the discriminator per step; where there are none, one batch is returned for its labels.
        session: its seed decides the order.
    """

    def __init__(self, data: Labelled, size: int, updates: int, session: Session) -> None:
        self._data, self._updates = data, max(updates, 1)
        self._rows = Shuffled(len(data), size, session, "images")
        self.steps = max(self._rows.steps // self._updates, 1)
        """Steps in an epoch."""

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """((updates, size, C, H, W) uint8, (updates, size) int64)."""
        first = moment.step * self._updates
        rows = torch.stack([moment.share(self._rows(first + update)) for update in range(self._updates)])
        return self._data.images[rows], self._data.labels[rows]


def as_input(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def _gradient_norm(network: nn.Module) -> Tensor:
    return get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
