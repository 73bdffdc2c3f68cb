"""The one judge: an example is adversarial only if the saved image, read back, is classified as the goal wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from deepscope import files, images
from deepscope.attacks.attack import Norm, distance
from deepscope.attacks.goals import Goal, Targeted
from deepscope.models import VisionModel
from deepscope.models.fast_backward import FastBackward
from deepscope.models.outputs import Outputs

QUICK_ERROR = 0.03
"""By how much bfloat16 may move the difference of two logits, as a part of the largest.

Seen on 40 photographs: at most 0.011 with SqueezeNet 1.0, 0.028 with EfficientNet-Lite0.
"""


@dataclass(frozen=True)
class Verdict:
    """What is so about one image.

    Attributes:
        success: the saved image is classified as the goal wants.
        before, after: the predicted class of the original and of the saved image.
        true_before, true_after: the true class's probability.
        target_before, target_after: the target's probability; NaN without a target.
        l0: pixels changed.
        l2, linf: length and largest element of the change, pixels in [0, 1].
        ssim: structural similarity to the original (Wang et al. 2004).
    """

    success: bool
    before: int
    after: int
    true_before: float
    true_after: float
    target_before: float
    target_after: float
    l0: float
    l2: float
    linf: float
    ssim: float

    def distance(self, norm: Norm) -> float:
        """How far the saved image is from the original."""
        return {"l0": self.l0, "l2": self.l2, "linf": self.linf}[norm]


def judge(
    model: VisionModel, original: Tensor, changed: Tensor, goal: Goal, labels: Tensor, paths: Sequence[Path]
) -> tuple[list[Verdict], Tensor]:
    """Clip, round to 8 bits, save, read back, classify.

    Args:
        original, changed: (N, 3, H, W) pixels in [0, 1].
        goal: what was wanted, one row an image.
        labels: (N,) the true classes.
        paths: where to save, one PNG an image.

    Returns:
        a verdict an image, and the pixels (N, 3, H, W) as read back.
    """
    saved = torch.stack([_through_file(image, path) for image, path in zip(changed, paths, strict=True)]).to(original)
    with torch.inference_mode():
        before, after = model(original), model(saved)
    reached = goal.reached(after).tolist()
    apart = {norm: distance(saved, original, norm).tolist() for norm in ("l0", "l2", "linf")}
    true = [_probability(logits, labels) for logits in (before, after)]
    if isinstance(goal, Targeted):
        aimed = [_probability(logits, goal.classes) for logits in (before, after)]
    else:
        aimed = [[float("nan")] * len(labels)] * 2
    classes = [logits.argmax(1).tolist() for logits in (before, after)]
    verdicts = [
        Verdict(
            success=reached[i],
            before=classes[0][i],
            after=classes[1][i],
            true_before=true[0][i],
            true_after=true[1][i],
            target_before=aimed[0][i],
            target_after=aimed[1][i],
            l0=apart["l0"][i],
            l2=apart["l2"][i],
            linf=apart["linf"][i],
            ssim=_ssim(original[i], saved[i]),
        )
        for i in range(len(labels))
    ]
    return verdicts, saved


@dataclass
class Cost:
    """What a network was asked, counted by the network.

    Attributes:
        images: (N, ...) the network's inputs that are under attack, to tell whose gradient vanished or scores are flat.
        vanished: (N,) whether a gradient with respect to the image was zero, or not finite, where that of the loss
            with respect to the logits was not.
        queries: images it was shown.
        gradients: images whose gradient was taken, once for each backward pass that reached them.
    """

    images: Tensor
    vanished: Tensor
    queries: int = 0
    gradients: int = 0
    _first: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    _flat: dict[int, bool] = field(default_factory=dict[int, bool])

    @property
    def flat(self) -> Tensor:
        """(N,) whether all queries, two at least, were answered with the same logits: a search learns nothing there."""
        return torch.tensor([self._flat.get(i, False) for i in range(len(self.images))], device=self.vanished.device)

    def note_scores(self, inputs: Tensor, logits: Tensor) -> None:
        """Compare logits (n, C) with the first ones of the images that the inputs (n, ...) were made of."""
        undecided = [i for i in range(len(self.images)) if self._flat.get(i, True)]
        if not undecided:  # after the first queries of a network that is not saturated
            return
        nearest = self._nearest(inputs)
        for image in undecided:
            for answer in logits[nearest[:, image]]:
                if image in self._first:
                    self._flat[image] = self._flat.get(image, True) and torch.equal(answer, self._first[image])
                else:
                    self._first[image] = answer.clone()

    def note_vanished(self, inputs: Tensor) -> None:
        """The images that these inputs (n, ...) were made of: the nearest ones."""
        if len(inputs) and len(self.images):
            self.vanished |= self._nearest(inputs).any(0)

    def _nearest(self, inputs: Tensor) -> Tensor:
        """(n, N) which of the images each input was made of."""
        far = torch.cdist(inputs.flatten(1), self.images.flatten(1))
        return far == far.amin(1, keepdim=True)


def counted(
    model: VisionModel, pixels: Tensor, *, quick: bool = False, fast: FastBackward | None = None
) -> tuple[VisionModel, Cost]:
    """The same model, and what it is asked from now on.

    Args:
        pixels: (N, 3, H, W) the images under attack.
        quick: runs passes without a gradient in bfloat16, and again in full where that does not decide.
        fast: what was prepared for many gradients of this model.
    """
    cost = Cost(model.normalise(pixels), torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device))
    network = Counted(model.network, model.outputs, cost, quick, fast or FastBackward.on(pixels.device))
    return model.with_network(network, returns="logits"), cost


class Counted(nn.Module):
    """A network that counts what it is asked; see `counted`."""

    def __init__(self, network: nn.Module, outputs: Outputs, cost: Cost, quick: bool, fast: FastBackward) -> None:
        super().__init__()
        self.network, self.outputs, self.cost, self.quick, self.fast = network, outputs, cost, quick, fast

    def over(self, network: nn.Module) -> Counted:
        """Another network that is counted together with this one."""
        return Counted(network, self.outputs, self.cost, self.quick, self.fast)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C) logits."""
        quick = self.quick and not torch.is_grad_enabled()
        logits = self._run(inputs, quick=quick)
        if quick and logits.shape[1] > 1:
            close = _undecided(logits)
            if close.any():
                logits[close] = self._run(inputs[close], quick=False)
        self.cost.queries += len(inputs)
        self.cost.note_scores(inputs.detach(), logits.detach())
        if torch.is_grad_enabled() and inputs.requires_grad:
            # where the network cuts the graph, the gradient is zero: what attacks take, instead of an error
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

    def _run(self, inputs: Tensor, *, quick: bool) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=quick):
            return self.fast.run(lambda: self.outputs(self.network, inputs))


def _undecided(logits: Tensor) -> Tensor:
    """(N,) where bfloat16 may have taken the second class for the first: an attack that ends there proves nothing."""
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return first - second < QUICK_ERROR * logits.abs().amax(1)


def _through_file(pixels: Tensor, path: Path) -> Tensor:
    levels = (pixels.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    with files.atomic(path) as temporary:
        Image.fromarray(levels).save(temporary)
    read = np.asarray(images.decode(path))
    return torch.from_numpy(read.copy()).permute(2, 0, 1).float().div(255)


def _probability(logits: Tensor, classes: Tensor) -> list[float]:
    return logits.float().softmax(1).gather(1, classes[:, None])[:, 0].tolist()


def _ssim(first: Tensor, second: Tensor) -> float:
    from skimage.metrics import structural_similarity

    smaller = min(first.shape[1:])
    window = min(7, smaller - (smaller + 1) % 2)
    arrays = (image.cpu().double().numpy() for image in (first, second))
    return float(np.mean(structural_similarity(*arrays, channel_axis=0, data_range=1.0, win_size=window)))
