from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.gans.convolution import Down, Up, down


def whole_numbers(*size: int) -> Tensor:
    """Few and small enough that bfloat16 makes no error in any sum here."""
    return torch.randint(-1, 2, size, generator=torch.Generator().manual_seed(sum(size))).double()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("small", "grey"), [(2, False), (4, False), (8, False), (2, True), (8, True)])
@pytest.mark.parametrize("layer", [Down, Up])
def test_images_and_gradients_are_the_library_s_in_float64(
    layer: type[Down] | type[Up], small: int, grey: bool, dtype: torch.dtype
) -> None:
    before, after = (1 if grey and layer is Down else 5), (1 if grey and layer is Up else 3)
    with torch.random.fork_rng():
        ours = layer(before, after)
    side = small if layer is Up else 2 * small
    plain = functional.conv_transpose2d if layer is Up else functional.conv2d
    images, weights = whole_numbers(2, before, side, side).requires_grad_(), whole_numbers(*ours.weight.shape)
    expected = plain(images, weights.requires_grad_(), None, 2, 1)
    back = whole_numbers(*expected.shape)
    expected.backward(back)
    ours.weight.data.copy_(weights.detach())
    ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = images.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        made = ours(seen)
    made.backward(back.to(made.dtype))
    for got, wanted in ((made, expected), (seen.grad, images.grad), (ours.weight.grad, weights.grad)):
        assert got is not None and wanted is not None
        assert wanted.abs().max() <= 256, "bfloat16 would round"
        torch.testing.assert_close(got.double(), wanted, rtol=0, atol=0)


def test_grey_images_become_products_and_small_ones_in_bfloat16(products: list[tuple[int, ...]]) -> None:
    stages = nn.Sequential(Down(1, 2), Down(2, 3), Down(3, 4), Up(4, 3), Up(3, 2), Up(2, 1))
    stages(torch.randn(2, 1, 32, 32)).sum().backward()
    assert [size[3] for size in products] == [16, 16], "the library does the rest"
    products.clear()
    with torch.autocast("cpu", torch.bfloat16):
        stages(torch.randn(2, 1, 32, 32)).sum().backward()
    assert [size[3] for size in products] == [16, 4, 4, 16]


@pytest.mark.parametrize("channels", [1, 3])
def test_it_can_be_differentiated_twice(channels: int) -> None:
    images, weights = whole_numbers(2, channels, 8, 8), whole_numbers(4, channels, 4, 4)

    def second(convolved: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> Tensor:
        x, w = images.to(dtype).requires_grad_(), weights.to(dtype).requires_grad_()
        (first,) = torch.autograd.grad(convolved(x, w).square().sum() / 16, x, create_graph=True)
        return torch.autograd.grad(first.sum() / 16, w)[0].double()

    with torch.autocast("cpu", torch.bfloat16):
        got = second(down, torch.float32)
    expected = second(lambda x, w: functional.conv2d(x, w, None, 2, 1), torch.float64)
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0.02 * expected.abs().max().item())
