"""Feature extractors of photographs for the Frechet distance: the bundled network, and Inception where available."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.errors import FileError, MissingExtraError
from deepscope.models import DEFAULT, load_model
from deepscope.session import Session

Features = Callable[[Tensor], Tensor]
"""(N, 1 or 3, H, W) uint8 images -> (N, D) float32 on the CPU."""

INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
_AT_ONCE = 50


def bundled_features(session: Session) -> Features:
    """Input of the default model's class layer, for images resized to its input size."""
    model = load_model(DEFAULT, session)
    size = model.preprocessing.size
    head = [name for name, module in model.network.named_modules() if isinstance(module, torch.nn.Linear)][-1]

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        found: list[Tensor] = []
        hook = model.layer(head).register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float().cpu()))
        try:
            for part in images.split(_AT_ONCE):
                pixels = _colour(part).to(model.device).float() / 255
                model(functional.interpolate(pixels, size, mode="bilinear", antialias=True))
        finally:
            hook.remove()
        return torch.cat(found)

    return features


def inception_features(session: Session) -> Features:
    """The 2048 features of the Inception FID (Heusel et al. 2017), by torch-fidelity, from weights in the home folder.

    Raises:
        MissingExtraError: torch-fidelity is not installed.
        FileError: the weights are not in HOME/weights.
    """
    weights = session.home / "weights" / INCEPTION
    if find_spec("torch_fidelity") is None:
        raise MissingExtraError("fid", "the Inception FID by torch-fidelity")
    if not weights.is_file():
        text = f"the Inception FID needs its weights: put {INCEPTION} into {weights.parent}"
        raise FileError(text, path=weights)
    import torch_fidelity.feature_extractor_inceptionv3 as inception  # pyright: ignore[reportMissingImports]

    network = inception.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )
    network.to(session.device).eval()

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        return torch.cat([network(_colour(part).to(session.device))[0].cpu() for part in images.split(_AT_ONCE)])

    return features


def _colour(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1)
