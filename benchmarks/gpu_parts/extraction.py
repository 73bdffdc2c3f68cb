"""VGG16's features against their floor: operations over the measured matrix rate, or bytes over the bandwidth."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from deepscope import images as image_files
from deepscope.features import extract, inference
from deepscope.features.inference import ConvolutionRelu, accelerated
from deepscope.features.passes import batch_size, vectors_of
from deepscope.models import VisionModel
from deepscope.models.classifier import Backbone
from deepscope.models.identity import weights_sha256
from deepscope.session import Session

from .check import Check, Figures, NotMeasured, Outcome, Record, Verdict, relative, verdict
from .machine import bandwidth, matrix_rate
from .networks import images, large

GOAL = 0.5
LAYER = "features"


def extraction(check: Check) -> Iterator[Record]:
    """The engine as it is, from the device and from the host, then single changes to it."""
    model = large("vgg16", check.device, small=check.small)
    quick = _quick(model)
    size = 4 if check.small else batch_size(check.device)
    goal = f"goal {GOAL} of the floor"
    yield check.attempt("device/engine-batch", lambda: (*_on_device(check, model, quick, size), goal))
    yield check.attempt("host/engine-batch", lambda: _from_host(check, model, quick, size))
    yield check.attempt("host/extract", lambda: _whole(check, model))
    for batch in () if check.small else (32, 256):
        yield check.attempt(f"device/batch-{batch}", lambda b=batch: (*_on_device(check, model, quick, b), goal))
    with mock.patch.object(inference, "_fuses", lambda _: False):
        separate = _quick(model)
    torch.backends.cudnn.benchmark = True
    try:
        for batch in (size,) if check.small else (32, 128, 256):
            name = f"variant/cudnn-benchmark/batch-{batch}"
            yield check.attempt(name, lambda b=batch: (*_variant(check, model, quick, quick, b), goal))
            name = f"variant/separate-relu/batch-{batch}"
            yield check.attempt(name, lambda b=batch: (*_variant(check, model, quick, separate, b), goal))
        if not check.small:
            name = "variant/graph/batch-32"
            yield check.attempt(
                name, lambda: (*_variant(check, model, quick, _graph(check, model, quick, 32), 32), goal)
            )
            name = "variant/compiled/batch-128"
            yield check.attempt(name, lambda: (*_variant(check, model, quick, torch.compile(separate), 128), goal))
    finally:
        torch.backends.cudnn.benchmark = False


def _quick(model: VisionModel) -> Backbone:
    """The network as the engine runs it in bfloat16."""
    backbone = Backbone(model.network, model.preprocessing.mean, model.preprocessing.std, [(LAYER, "mean")])
    return accelerated(backbone.to(model.device).eval(), images(1, model), bfloat16=True)


def _floor(check: Check, quick: Backbone, pixels: Tensor) -> float:
    """Seconds: no version takes much less."""
    counted = {torch.ops.aten.cudnn_convolution_relu: _fused_flops}  # PyTorch counts it as nothing
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=counted) as counter:
        quick(pixels)
    weights = sum(tensor.nbytes for tensor in quick.network.get_submodule(LAYER).parameters())
    moved = weights + pixels.nbytes + len(pixels) * 512 * 4
    return max(counter.get_total_flops() / matrix_rate(check, "bfloat16"), moved / bandwidth(check))


def _fused_flops(*shapes: Sequence[int], out_shape: Sequence[int], **_: object) -> int:
    """Of a convolution with its ReLU: a product and a sum per weight, for each output pixel of each image."""
    return 2 * out_shape[0] * math.prod(out_shape[2:]) * math.prod(shapes[1])


def _inference(run: Callable[[Tensor], object], pixels: Tensor) -> None:
    with torch.inference_mode():
        run(pixels)


def _figures(seconds: float, floor: float, count: int) -> Figures:
    return {"images/s": count / seconds, "of-floor": floor / seconds, "milliseconds": 1e3 * seconds, "batch": count}


def _pixels(model: VisionModel, count: int) -> Tensor:
    return images(count, model).contiguous(memory_format=torch.channels_last)


def _on_device(check: Check, model: VisionModel, quick: Backbone, count: int) -> tuple[Verdict, Figures]:
    pixels = _pixels(model, count)
    calls = 1 if check.small else 8  # several batches after each other, as the engine runs them
    seconds = check.seconds(lambda: [_inference(quick, pixels) for _ in range(calls)], 7) / calls
    figures = _figures(seconds, _floor(check, quick, pixels), count)
    figures["fused-relus"] = sum(isinstance(module, ConvolutionRelu) for module in quick.modules())
    return verdict(check.small or figures["of-floor"] >= GOAL), figures


def _from_host(check: Check, model: VisionModel, quick: Backbone, count: int) -> Outcome:
    """As the engine runs: levels of the host in, features of the host out."""
    pixels = _pixels(model, count)
    pageable = (pixels * 255).round().byte().cpu().contiguous()
    levels = pageable.pin_memory() if check.cuda else pageable  # as `images.stream` makes them for the engine
    ways = {"engine": levels, "pageable": pageable}
    seconds = check.medians(
        {name: lambda of=of: torch.cat(vectors_of(quick, of, check.device), 1).cpu() for name, of in ways.items()}, 7
    )
    figures = _figures(seconds["engine"], _floor(check, quick, pixels), count)
    figures["images/s-if-pageable"] = count / seconds["pageable"]
    return verdict(check.small or figures["of-floor"] >= GOAL), figures, f"goal {GOAL} of the floor"


def _whole(check: Check, model: VisionModel) -> Outcome:
    """`extract` on decoded images, its cache empty, and what its parts take by themselves."""
    count, side = (6, 64) if check.small else (1024, 224)
    arrays = list(np.random.default_rng(0).integers(256, size=(count, side, side, 3), dtype=np.uint8))
    with tempfile.TemporaryDirectory() as cache:
        session = Session(device=check.device, precision="bfloat16", cache=Path(cache), quiet=True)
        extract(model, [(LAYER, "mean")], arrays[:2], session)
        found: list[int] = []
        seconds = check.clock(lambda: found.append(extract(model, [(LAYER, "mean")], arrays, session).computed))
    geometry, size = model.preprocessing, batch_size(check.device)
    figures: Figures = {"images/s": count / seconds, "images": count, "seconds": seconds}
    figures["seconds/digest-of-weights"] = check.clock(lambda: weights_sha256(model.network))
    figures["seconds/digests-of-images"] = check.clock(lambda: [image_files.digest(array) for array in arrays])
    stream = image_files.stream
    figures["seconds/reading"] = check.clock(lambda: list(stream(arrays, geometry.levels, batch_size=size)))
    figures["seconds/preparing-the-network"] = check.clock(lambda: _quick(model))
    return verdict(found[0] >= count - 2), figures, "from arrays, cache empty; its parts one by one, not all in turn"


def _variant(
    check: Check, model: VisionModel, quick: Backbone, run: Callable[[Tensor], list[Tensor]], count: int
) -> tuple[Verdict, Figures]:
    """Whether a changed network gives the same features, and how fast."""
    pixels = _pixels(model, count)
    try:
        with torch.inference_mode():
            apart = relative(run(pixels)[0], quick(pixels)[0])
    except (RuntimeError, ImportError, OSError) as error:
        raise NotMeasured(f"this variant does not run here: {str(error)[:200]}") from None
    calls = 1 if check.small else 8
    seconds = check.seconds(lambda: [_inference(run, pixels) for _ in range(calls)], 7) / calls
    figures = _figures(seconds, _floor(check, quick, pixels), count) | {"relative": apart}
    return verdict(apart <= 2e-2), figures


def _graph(check: Check, model: VisionModel, quick: Backbone, count: int) -> Callable[[Tensor], list[Tensor]]:
    """The same kernels, launched as one CUDA graph."""
    if not check.cuda:
        raise NotMeasured("CUDA graphs are for CUDA devices alone")
    static = _pixels(model, count)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(side):
        for _ in range(3):
            quick(static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        found = quick(static)

    def run(pixels: Tensor) -> list[Tensor]:
        static.copy_(pixels)
        graph.replay()
        return found

    return run
