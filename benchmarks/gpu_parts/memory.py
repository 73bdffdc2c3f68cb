"""Batches that size themselves stay within memory, and shrink where there is less of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from deepscope.attributions import GradCAM, Saliency, SmoothGrad
from deepscope.attributions.engine import batches, gradient
from deepscope.models.batching import memory_budget
from deepscope.models.prediction import forward
from deepscope.session import Session

from .check import Check, Figures, NotMeasured, Outcome, Record, exact, relative, rng, verdict
from .networks import images, large


def memory(check: Check) -> Iterator[Record]:
    """Gradients of VGG16 for more images than fit at once, with all of the memory and with some of it."""
    yield check.attempt("whole", lambda: _run(check, None))
    for share in (0.1, 0.03):
        yield check.attempt(f"share/{share}", lambda share=share: _run(check, share))
    for method in (Saliency(), GradCAM(), SmoothGrad(samples=32)):
        yield check.attempt(f"method/{method.name}", lambda method=method: _method(check, method))
    yield check.attempt("predict/share/0.03", lambda: _predict(check))


def _limited(check: Check, share: float | None) -> int:
    """Bytes that may be allocated from now on."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    if share is not None:
        torch.cuda.set_per_process_memory_fraction(share)
    return int(torch.cuda.get_device_properties(check.device).total_memory * (share or 1.0))


def _run(check: Check, share: float | None) -> Outcome:
    if not check.cuda and share is not None:
        raise NotMeasured("memory can be limited on CUDA devices alone")
    model = large("vgg16", check.device, small=check.small)
    pixels = images(10 if check.small else 768, model)
    target = torch.arange(len(pixels), device=check.device) % 10
    with exact():
        first = gradient(model, pixels[:4], target[:4])[0]
    figures: Figures = {"images": len(pixels)}
    limit = _limited(check, share) if check.cuda else 0
    sizes: list[int] = []
    tried: list[int] = []

    def run(rows: slice) -> torch.Tensor:
        tried.append(rows.stop - rows.start)
        return gradient(model, pixels[rows], target[rows])[0]

    try:
        parts = []
        with exact():
            for rows, part in batches(len(pixels), check.device, run):
                sizes.append(rows.stop - rows.start)
                parts.append(part[: 0 if parts else 4].clone())
    finally:
        if check.cuda:
            figures |= {"peak-GiB": torch.cuda.max_memory_allocated() / 2**30, "limit-GiB": limit / 2**30}
            torch.cuda.set_per_process_memory_fraction(1.0)
    figures |= {
        "budget-GiB": memory_budget(check.device) / 2**30,
        "batches": sizes[:8],
        "out-of-memory": len(tried) - len(sizes),
        "relative": relative(parts[0], first),  # a gradient of float32 is that far from float64 too
    }
    return verdict(sum(sizes) == len(pixels) and relative(parts[0], first) <= 2e-2), figures, ""


def _method(check: Check, method: Saliency | GradCAM | SmoothGrad) -> Outcome:
    model = large("vgg16", check.device, small=check.small)
    count = 2 if check.small else 32 if isinstance(method, SmoothGrad) else 256
    pixels = images(count, model)
    target = torch.arange(count, device=check.device) % 10
    limit = _limited(check, None) if check.cuda else 0
    seconds = check.clock(lambda: method(model, pixels, target, rng=rng()))
    figures: Figures = {"images": count, "seconds": seconds}
    if check.cuda:
        figures |= {"peak-GiB": torch.cuda.max_memory_allocated() / 2**30, "limit-GiB": limit / 2**30}
    return "pass", figures, ""


def _predict(check: Check) -> Outcome:
    """A batch that is far too large is halved until it fits."""
    if not check.cuda:
        raise NotMeasured("memory can be limited on CUDA devices alone")
    model = large("vgg16", check.device, small=check.small)
    pixels = images(512, model).cpu()
    _limited(check, 0.03)
    try:
        logits = forward(model, pixels, Session(device=check.device, quiet=True))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return verdict(len(logits) == len(pixels)), {"peak-GiB": torch.cuda.max_memory_allocated() / 2**30}, ""
