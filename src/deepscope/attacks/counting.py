"""Counts the queries and gradients of an attack, inside the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from deepscope import nearby
from deepscope.models import VisionModel
from deepscope.models.fast_backward import FastBackward
from deepscope.models.heads import Head
from deepscope.models.outputs import Outputs

BUSY = 256
"""Images per forward pass that keep a GPU busy."""
QUICK_ERROR = 0.03
"""By how much bfloat16 may change the difference of two logits, as a share of the largest.

Measured on 40 photographs: at most 0.011 with SqueezeNet 1.0, 0.028 with EfficientNet-Lite0.
"""


@dataclass
class Cost:
    """The queries and gradients of a network, counted inside it.

    Attributes:
        images: (N, ...) the network's inputs that are under attack, to tell whose gradient vanished or
            whose scores never change.
        vanished: (N,) whether a gradient with respect to the image was zero, or not finite, where that of the loss
            with respect to the logits was not.
        queries: images that the network classified.
        gradients: images whose gradient was computed, once per backward pass that reached them.
        rows: (n,) which of the images the inputs of the present pass are made from, where an attack says so.
    """

    images: Tensor
    vanished: Tensor
    queries: int = 0
    gradients: int = 0
    rows: Tensor | None = field(default=None, init=False)
    _own: Tensor = field(init=False)
    _first: dict[int, Tensor] = field(default_factory=dict[int, Tensor], init=False)
    _flat: set[int] = field(default_factory=set[int], init=False)
    _undecided: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._own, self._undecided = torch.zeros(len(self.images)), set(range(len(self.images)))

    @property
    def by_image(self) -> Tensor:
        """(N,) queries made for each image. Those of an attack that does not say for which are shared equally."""
        return self._own + (self.queries - self._own.sum()) / max(1, len(self._own))

    @property
    def flat(self) -> Tensor:
        """(N,) whether all queries, two at least, returned the same logits: a search has no information there."""
        return torch.tensor([i in self._flat for i in range(len(self.images))], device=self.vanished.device)

    @contextmanager
    def made_from(self, rows: Tensor) -> Iterator[None]:
        """Inside, the inputs (n, ...) are made from the images in these rows (n,)."""
        self._own += rows.bincount(minlength=len(self._own)).cpu()
        self.rows = rows
        try:
            yield
        finally:
            self.rows = None

    def note_scores(self, inputs: Tensor, logits: Tensor) -> None:
        """Compare logits (n, C) with the first ones of the images that the inputs (n, ...) were made from."""
        if not self._undecided:  # after the first queries of a network that is not saturated
            return
        for image, answers in self._answers(inputs, logits).items():
            again = image in self._first
            first = self._first.setdefault(image, answers[0].clone())
            if (answers != first).any():
                self._undecided.discard(image)
                self._flat.discard(image)
            elif again or len(answers) > 1:
                self._flat.add(image)

    def _answers(self, inputs: Tensor, logits: Tensor) -> dict[int, Tensor]:
        """The logits of each image that is still undecided, where there are any."""
        if self.rows is not None:
            made = {image: self.rows == image for image in self._undecided.intersection(self.rows.tolist())}
        else:
            nearest = self._nearest(inputs)
            made = {image: nearest[:, image] for image in self._undecided}
        return {image: logits[own] for image, own in made.items() if own.any()}

    def note_vanished(self, inputs: Tensor) -> None:
        """Mark the images that these inputs (n, ...) were made from: the nearest ones."""
        if len(inputs) and len(self.images):
            self.vanished |= self._nearest(inputs).any(0)

    def _nearest(self, inputs: Tensor) -> Tensor:
        """(n, N) which of the images each input was made from."""
        far = torch.cdist(inputs.flatten(1), self.images.flatten(1))
        return far == far.amin(1, keepdim=True)


def counted(
    model: VisionModel,
    pixels: Tensor,
    *,
    quick: bool = False,
    fast: FastBackward | None = None,
    size: int | None = None,
) -> tuple[VisionModel, Cost]:
    """The same model, and a count of its queries and gradients from now on.

    Args:
        model: the network under attack.
        pixels: (N, 3, H, W) the images under attack.
        quick: runs passes without a gradient in bfloat16, and again in full precision where that is not decisive.
        fast: prepared for many gradients of this model.
        size: most images per pass that `ask` makes; None for any number.
    """
    cost = Cost(model.normalise(pixels), torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device))
    network = Counted(model.network, model.outputs, cost, quick, fast or FastBackward.on(pixels.device), size)
    made = replace(model, network=network, head=Head())  # it returns what the head has made of the scores
    made.outputs.kind = "logits"
    return made, cost


class Counted(nn.Module):
    """A network that counts its queries and gradients; see `counted`."""

    def __init__(
        self,
        network: nn.Module,
        outputs: Outputs,
        cost: Cost,
        quick: bool,
        fast: FastBackward,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.network, self.outputs, self.cost, self.quick, self.fast = network, outputs, cost, quick, fast
        self.size = size

    def over(self, network: nn.Module) -> Counted:
        """Another network that is counted together with this one."""
        return Counted(network, self.outputs, self.cost, self.quick, self.fast, self.size)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C) logits."""
        quick = self.quick and not torch.is_grad_enabled()
        rows = self.cost.rows
        logits = self._run(inputs, rows, quick=quick)
        if quick and logits.shape[1] > 1:
            close = _undecided(logits)
            if close.any():
                logits[close] = self._run(inputs[close], None if rows is None else rows[close], quick=False)
        self.cost.queries += len(inputs)
        self.cost.note_scores(inputs.detach(), logits.detach())
        if torch.is_grad_enabled() and inputs.requires_grad:
            # where the network cuts the graph, attacks get a gradient of zero instead of an error
            logits = logits + 0 * inputs.flatten(1).sum(1, keepdim=True)
            self._watch(inputs, logits)
        return logits

    def _watch(self, inputs: Tensor, logits: Tensor) -> None:
        """Count gradients, find those that vanish, and put zeros where they are not finite."""
        seen, asked = inputs.detach(), torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)

        def of_logits(gradient: Tensor) -> None:
            asked.copy_(gradient.flatten(1).any(1))
            self.cost.gradients += int(asked.sum())

        def of_inputs(gradient: Tensor) -> Tensor:
            size = gradient.flatten(1).abs().sum(1)
            finite = size.isfinite()
            self.cost.note_vanished(seen[asked & ~(finite & (size > 0))])
            return gradient if finite.all() else gradient.where(finite.view(-1, 1, 1, 1), 0)

        logits.register_hook(of_logits)
        inputs.register_hook(of_inputs)

    def _run(self, inputs: Tensor, rows: Tensor | None, *, quick: bool) -> Tensor:
        known = rows is not None and isinstance(self.network, nearby.Nearby)
        with (
            self.network.made_from(rows) if known else nullcontext(),
            torch.autocast(inputs.device.type, torch.bfloat16, enabled=quick),
        ):
            return self.fast.run(lambda: self.outputs(self.network, inputs))


def ask(model: VisionModel, points: Tensor, rows: Tensor) -> Tensor:
    """(n, C) logits of points (n, 3, H, W) made from the images in `rows` (n,), whose queries are counted for them.

    A counted model gets as many per pass as it was counted with; a GPU gets enough to be busy.
    """
    network = model.network
    if not isinstance(network, Counted):
        with network.made_from(rows) if isinstance(network, nearby.Nearby) else nullcontext():
            return model(points)
    size = network.size or len(points)
    size = size if points.device.type == "cpu" else max(size, BUSY)
    logits: list[Tensor] = []
    for part, own in zip(points.split(size), rows.split(size)):
        with network.cost.made_from(own):
            logits.append(model(part))
    return torch.cat(logits)


def _undecided(logits: Tensor) -> Tensor:
    """(N,) where bfloat16 may have swapped the two largest classes: an attack that ends there is inconclusive."""
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return first - second < QUICK_ERROR * logits.abs().amax(1)


def around(model: VisionModel, pixels: Tensor) -> VisionModel:
    """The same model, faster where it is asked by `ask` for images that differ from one of these in a few pixels.

    Queries of a counted model stay counted. Where the network cannot be made faster, it is the model itself.
    """
    counting = model.network if isinstance(model.network, Counted) else None
    network = counting.network if counting else model.network
    near = nearby.around(network, model.normalise(pixels))
    if near is network:
        return model
    return model.with_network(counting.over(near) if counting else near, returns=model.outputs.kind)
