"""Models for attacks that know the defence: gradients through what is random (EOT) or not differentiable (BPDA)."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from torch import Tensor, nn

from deepscope.attacks.defences import Defence
from deepscope.errors import ModelError, SettingError
from deepscope.models import VisionModel


def averaged(model: VisionModel, draws: int, *, seed: int = 0) -> VisionModel:
    """A randomised model as its mean over several draws: expectation over transformation (Athalye et al. 2018).

    Scores are the mean of that many forward passes, and gradients are those of the mean. Attacks then follow the
    expected gradient, and the evaluation uses the expected prediction. arXiv:1802.00420.

    Each image passes through the network alone, with PyTorch's global generators seeded from `seed` and the image's
    content. Its scores therefore depend on neither its batch nor earlier queries. Passes in inference mode, which are
    those that evaluate examples, have draws of their own: an attack cannot select draws that happen to suit it.

    Args:
        model: draws random numbers in each forward pass, from PyTorch's global generators.
        draws: forward passes per query; 1 returns the model itself.
        seed: of the draws.

    Raises:
        SettingError: the number of draws is below 1.
    """
    if draws < 1:
        raise SettingError("draws", "must be at least 1", got=draws)
    if draws == 1:
        return model
    return model.with_network(_Averaged(model.network, model.name, draws, seed), returns=model.outputs.kind)


def defended(model: VisionModel, defence: Defence, *, straight_through: bool = True) -> VisionModel:
    """A model behind a defence that the attacks know (BPDA, Athalye et al. 2018).

    Args:
        model: gets the pixels that the defence returns.
        defence: pixels (N, 3, H, W) in [0, 1] to the same shape, such as those in `deepscope.attacks.defences`; it
            need not be differentiable.
        straight_through: take the gradient of the identity in place of the defence's own, which suits a defence that
            returns nearly the image that it got. False keeps the defence's own gradient, where it has one.

    Example:
        >>> import deepscope as ds
        >>> from deepscope.attacks.defences import bit_depth
        >>> ds.attacks.defended(ds.load_model("efficientnet_lite0"), bit_depth).name
        'efficientnet_lite0'
    """
    bare = replace(model.preprocessing, mean=(0.0,) * model.planes, std=(1.0,) * model.planes)
    network = _Defended(model, defence, straight_through)
    return replace(model, preprocessing=bare).with_network(network, returns=model.outputs.kind)


class _Averaged(nn.Module):
    def __init__(self, network: nn.Module, name: str, draws: int, seed: int) -> None:
        super().__init__()
        self.network, self.name, self.draws, self.seed = network, name, draws, seed

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([self._mean(image) for image in inputs.split(1)])

    def _mean(self, image: Tensor) -> Tensor:
        with torch.random.fork_rng([image.device] if image.device.type == "cuda" else []):
            torch.manual_seed(self._seed_of(image))
            drawn = [self.network(image) for _ in range(self.draws)]
        if not all(isinstance(scores, Tensor) for scores in drawn):
            raise ModelError(f"{self.name} returns no tensor: draws cannot be averaged; return the scores alone")
        return torch.stack(drawn).mean(0)

    def _seed_of(self, image: Tensor) -> int:
        content = image.detach().float().cpu().contiguous().numpy().tobytes()
        use = "evaluation" if torch.is_inference_mode_enabled() else "attack"
        return int.from_bytes(hashlib.sha256(f"{self.seed} {use} ".encode() + content).digest()[:7], "big")


class _Defended(nn.Module):
    def __init__(self, model: VisionModel, defence: Defence, straight_through: bool) -> None:
        super().__init__()
        self.network, self.normalise = model.network, model.normalise
        self.defence, self.straight_through = defence, straight_through

    def forward(self, pixels: Tensor) -> Tensor:
        if not self.straight_through:
            return self.network(self.normalise(self.defence(pixels)))
        with torch.no_grad():
            seen = self.defence(pixels.detach())
        return self.network(self.normalise(seen + (pixels - pixels.detach())))
