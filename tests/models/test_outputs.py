"""What networks return, against the probabilities that plain PyTorch gives."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from deepscope.attacks import PGD
from deepscope.attacks.counting import counted
from deepscope.attacks.criteria import Untargeted
from deepscope.errors import DeepscopeError, ModelError
from deepscope.models import VisionModel
from deepscope.models.outputs import Outputs
from deepscope.transfer.export import export_onnx
from returning_networks import ABC, Anything, Held, Make, Named, Network, four_images, model_of, plain_logits


@pytest.fixture
def pixels() -> Tensor:
    return four_images()


@pytest.mark.parametrize(
    "make",
    [
        lambda z: z,
        lambda z: (z,),
        lambda z: [z],
        lambda z: (z, z.new_zeros(len(z), 9)),
        lambda z: {"logits": z, "loss": z.clone()},
        lambda z: {"out": z, "none": None},
        lambda z: {"features": z.new_zeros(len(z), 9), "out": z},
        lambda z: {"maps": z.new_zeros(len(z), 3, 2, 2), "head": z},
        lambda z: Named(z, z.new_zeros(len(z), 3)),
        Held,
        Anything,
        lambda z: z[:, :, None, None],
        lambda z: z.log_softmax(1) + 5,
        lambda z: z.softmax(1),
        lambda z: (z.softmax(1), None),
        lambda z: nn.functional.pad(z.softmax(1), (0, 0)) * 1.0,
    ],
)
def test_probabilities_are_the_networks_own(make: Make, pixels: Tensor) -> None:
    model = model_of(Network(make))
    wanted = plain_logits(pixels).softmax(1)
    for _ in range(2):  # the second pass relies on what the first decided
        torch.testing.assert_close(model(pixels).softmax(1), wanted)
    with torch.inference_mode():
        torch.testing.assert_close(replace(model, name="again")(pixels[:1]).softmax(1), wanted[:1])


@pytest.mark.parametrize(
    "make", [lambda z: z, lambda z: z.sigmoid(), lambda z: torch.cat([1 - z.sigmoid(), z.sigmoid()], 1)]
)
def test_one_logit_decides_between_two_categories(make: Make, pixels: Tensor) -> None:
    model = model_of(Network(make, out=1), ("good", "defect"))
    wanted = plain_logits(pixels, 1).sigmoid()
    torch.testing.assert_close(model(pixels).softmax(1), torch.cat([1 - wanted, wanted], 1))


@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning", "ignore:The PyTorch API of nested:UserWarning")
@pytest.mark.parametrize(
    ("make", "categories", "said"),
    [
        (lambda z: z[:, :1], ("defect",), "single logit"),
        (lambda z: z[:, :1], ABC, "single logit"),
        (lambda z: z, ("a", "b"), "3 logits"),
        (lambda z: z, tuple("abcde"), "3 logits"),
        (lambda z: (z, z + 1), ABC, "'0'.*'1'"),
        (lambda z: {"main": z, "aux": z + 1}, ABC, "'main'.*'aux'"),
        (lambda z: {}, ABC, "no dense tensor"),
        (lambda z: None, ABC, "no dense tensor"),
        (lambda z: z.argmax(1), ABC, "int64"),
        (lambda z: z.argmax(1, keepdim=True).expand(-1, 3), ABC, "int64"),
        (lambda z: z[0], ABC, "shape"),
        (lambda z: z[:2], ABC, "for 4 images"),
        (lambda z: z[:, :, None, None].expand(-1, -1, 5, 5), ABC, r"\(4, 3, 5, 5\)"),
        (lambda z: z * float("nan"), ABC, "NaN or infinite for 4 of 4"),
        (lambda z: z.index_fill(0, torch.tensor([2]), float("inf")), ABC, "NaN or infinite for 1 of 4"),
        (lambda z: z.sigmoid(), ABC, "several labels"),
        (lambda z: {"aux": z, "out": z[:, :2]}, ABC, "'aux'.*'out'"),
        (lambda z: {"features": z.new_zeros(len(z), 9), "head": z}, ABC, "'features'.*'head'"),
        (lambda z: (z.new_zeros(len(z), 9), z), ABC, "'0'.*'1'"),
        (lambda z: (z[:, :2], z[:, :1]), ("a", "b"), "'0'.*'1'"),
        (lambda z: 100 * z.softmax(1), ABC, "sum to 100"),
        (lambda z: 100 * (z * 1000).softmax(1), ABC, "sum to 100"),
        (lambda z: 1.2 * z.softmax(1), ABC, "sum to 1.2"),
        (lambda z: 0.5 * z.softmax(1), ABC, "sum to 0.5"),
        (lambda z: z.to_sparse(), ABC, "sparse"),
        (lambda z: z.to_sparse_csr(), ABC, "sparse"),
        (lambda z: {"logits": z.to_sparse()}, ABC, "sparse"),
        (lambda z: {"out": z.to_sparse()}, ABC, "no dense tensor"),
        (lambda z: torch.nested.nested_tensor(list(z)), ABC, "nested"),
        (lambda z: z @ z.new_zeros(7, 2), ABC, "cannot run"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(
    make: Make, categories: tuple[str, ...], said: str, pixels: Tensor
) -> None:
    with pytest.raises(DeepscopeError, match=said) as caught:
        model_of(Network(make), categories)(pixels)
    assert "\n" not in str(caught.value)


def test_every_pass_is_looked_at(pixels: Tensor) -> None:
    network = Network(lambda z: z)
    model = model_of(network)
    model(pixels)
    network.head.bias.data[0] = float("nan")
    with pytest.raises(DeepscopeError, match="NaN"):
        model(pixels)


def test_gradients_are_those_of_the_logarithm(pixels: Tensor) -> None:
    logits, own = (model_of(Network(make, gain=1)) for make in (lambda z: z.log_softmax(1), lambda z: z.softmax(1)))
    found = []
    for model in (logits, own):
        leaf = pixels.clone().requires_grad_()
        found.append(torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0])
    torch.testing.assert_close(found[1], found[0])
    assert found[0].abs().max() > 0


@pytest.mark.parametrize("make", [lambda z: {"logits": z}, lambda z: z.softmax(1)])
def test_attacks_read_outputs_the_same_way(make: Make, pixels: Tensor) -> None:
    """The attack's own wrapper counts, and finds what it finds on a network that returns logits."""
    changed = []
    for network in (Network(make, gain=1), Network(lambda z: z.log_softmax(1), gain=1)):
        model, cost = counted(model_of(network), pixels, quick=True)
        labels = model(pixels).argmax(1)
        assert cost.queries == len(pixels)
        attack = PGD(steps=3)
        changed.append(attack(model, pixels, Untargeted(labels), rng=torch.Generator().manual_seed(0)))
        assert cost.gradients == 3 * len(pixels)
    torch.testing.assert_close(changed[0], changed[1])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_answers_as_float32_does(kind: torch.dtype, pixels: Tensor) -> None:
    given = Network(lambda z: z).to(kind)
    model = model_of(given)
    assert next(given.parameters()).dtype == kind  # the caller's module stays as it is
    assert next(model.network.parameters()).dtype == (kind if kind == torch.float64 else torch.float32)
    assert model(pixels).dtype == torch.float32
    torch.testing.assert_close(model(pixels).softmax(1), plain_logits(pixels).softmax(1), atol=2e-2, rtol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_torchscript_answers_as_the_module_does(pixels: Tensor) -> None:
    for layer in (nn.Identity(), nn.Softmax(1)):
        network = nn.Sequential(*Network(lambda z: z).body, layer)
        model = model_of(torch.jit.script(network))
        for _ in range(3):  # TorchScript optimises after its first runs
            torch.testing.assert_close(model(pixels).softmax(1), plain_logits(pixels).softmax(1))


def test_grey_networks_see_the_luma_that_pillow_computes() -> None:
    array = torch.randint(0, 256, (16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image = Image.fromarray(array.numpy())
    model = model_of(Network(lambda z: z, channels=1), mean=(0.5,), std=(0.25,))
    grey = torch.from_numpy(np.array(image.convert("L"))).view(1, 1, 16, 16) / 255
    seen = model.normalise(model.read([image]))
    assert seen.shape == (1, 1, 16, 16)
    torch.testing.assert_close(seen, (grey - 0.5) / 0.25, atol=0.51 / 255 / 0.25, rtol=0)
    assert model(model.read([image])).shape == (1, 3)


@pytest.mark.parametrize("channels", [0, 65])
def test_no_channel_and_too_many_are_refused(channels: int) -> None:
    with pytest.raises(DeepscopeError, match="channel"):
        model_of(Network(lambda z: z), mean=(0.5,) * channels, std=(0.5,) * channels)
    with pytest.raises(DeepscopeError, match="cannot run on an input"):
        model_of(Network(lambda z: z, channels=4))(torch.rand(1, 3, 16, 16))


def test_memory_shortage_is_no_bad_network(pixels: Tensor) -> None:
    def short(_: Tensor) -> Tensor:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] not enough memory: you tried to allocate 9 bytes.")

    with pytest.raises(RuntimeError, match="not enough memory"):
        model_of(Network(short))(pixels)


def test_a_model_reads_its_own_networks_outputs() -> None:
    """What one network returns is never taken for what another does."""
    model = model_of(Network(lambda z: z.softmax(1)))
    other = replace(model, network=Network(lambda z: z))
    assert isinstance(model.outputs, Outputs)
    assert other.outputs is not model.outputs
    assert not next(field for field in dataclasses.fields(VisionModel) if field.name == "outputs").init


@pytest.mark.parametrize("count", [1, 2])
def test_an_export_that_is_wrong_for_one_number_of_images_is_refused(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    import onnxruntime

    class Wrong(onnxruntime.InferenceSession):
        def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
            found = np.asarray(super().run(output_names, input_feed, run_options)[0])
            return [found + 0.1 * (len(found) == count)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    model = model_of(Network(lambda z: z, 2), ("good", "defect"))
    with pytest.raises(ModelError, match=r"cannot be exported to ONNX: the file's probabilities differ by 0\.1"):
        export_onnx(model, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("make", "out"), [(lambda z: z.softmax(1), 2), (lambda z: {"logits": z}, 2), (lambda z: z, 1)])
def test_an_export_has_the_models_probabilities(make: Make, out: int, tmp_path: Path) -> None:
    model = model_of(Network(make, out, channels=1), ("good", "defect"), mean=(0.5,), std=(0.2,))
    pytest.importorskip("onnxscript")
    export_onnx(model, tmp_path / "x.onnx")
    import onnxruntime

    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    runner = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(runner.run(None, {"pixels": pixels.numpy()})[0])
    torch.testing.assert_close(found, model(pixels).softmax(1), atol=1e-5, rtol=0)
