"""AttnLRP against relevance that is passed back explicitly, layer by layer, in float64 on tiny networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from architectures import ARCHITECTURES
from deepscope.attributions import AttnLRP
from deepscope.attributions.attn_lrp import _Relevance
from deepscope.errors import UnsupportedError
from deepscope.models import Preprocessing, VisionModel
from networks import tiny_model

SIDE, HEADS, WIDTH = 16, 2, 8
TARGET = torch.tensor([2, 1])


def pixels() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def vit(*, biased: bool) -> VisionModel:
    """A network with weights of ordinary size; without biases, nothing but pixels and softmaxes has relevance."""
    torch.manual_seed(0)
    network = VisionTransformer(
        SIDE, 8, embed_dim=WIDTH, depth=2, num_heads=HEADS, num_classes=3, mlp_ratio=2, class_token=False,
        global_pool="avg", fc_norm=False,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") or "pos_embed" in name:
                parameter.normal_(0, 0.3 if biased else 0)
            elif parameter.ndim > 1:
                parameter.normal_(0, 1.5 * parameter[0].numel() ** -0.5)
            else:
                parameter.uniform_(0.5, 1.5)
    preprocessing = Preprocessing(SIDE, SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    return VisionModel("vit", network.double(), preprocessing, ("a", "b", "c"))


class Explicit:
    """Forward pass and relevance of one image, function by function as the paper states them.

    Attributes:
        absorbed: relevance of biases and softmaxes, which belongs to no pixel.
    """

    def __init__(self, network: VisionTransformer) -> None:
        self.network: Any = network
        self.absorbed = 0.0

    def linear(self, layer: Any, x: Tensor, relevance: Tensor) -> Tensor:
        output = layer(x)
        if layer.bias is not None:
            self.absorbed += float((relevance * layer.bias / output).sum())
        return torch.stack(
            [(x[:, i, None] * layer.weight[:, i] * relevance / output).sum(1) for i in range(x.shape[1])], 1
        )

    def norm(self, layer: Any, x: Tensor, relevance: Tensor) -> Tensor:
        deviation = (x.var(1, unbiased=False, keepdim=True) + layer.eps).sqrt()
        output = layer(x)
        self.absorbed += float((relevance * layer.bias / output).sum())
        centre = torch.eye(x.shape[1], dtype=x.dtype) - 1 / x.shape[1]
        return x * ((relevance / output * layer.weight / deviation) @ centre)

    def attention(self, module: Any, x: Tensor, relevance: Tensor) -> Tensor:
        qkv = module.qkv(x)
        query, key, value = qkv.view(len(x), 3, HEADS, -1).permute(1, 2, 0, 3)
        scale = query.shape[-1] ** -0.5
        scores = torch.stack([query[h] @ key[h].T * scale for h in range(HEADS)])
        matrix = scores.softmax(-1)
        mixed = torch.cat([matrix[h] @ value[h] for h in range(HEADS)], 1)
        back = self.linear(module.proj, mixed, relevance).view(len(x), HEADS, -1).transpose(0, 1)
        shares = []
        for h in range(HEADS):
            of_matrix, of_value = product(matrix[h], value[h], back[h])
            of_scores = scores[h] * (of_matrix - matrix[h] * of_matrix.sum(-1, keepdim=True))
            self.absorbed += float(of_matrix.sum() - of_scores.sum())
            of_query, of_key = product(query[h], key[h].T, of_scores)
            shares.append(torch.stack([of_query, of_key.T, of_value]))
        return self.linear(module.qkv, x, torch.stack(shares).permute(2, 1, 0, 3).reshape(len(x), -1))

    def block(self, block: Any, x: Tensor, relevance: Tensor) -> Tensor:
        mixed = block.attn(block.norm1(x)[None])[0]
        middle = x + mixed
        hidden = block.mlp.fc1(block.norm2(middle))
        added = block.mlp.fc2(F.gelu(hidden))
        whole = middle + added
        back = self.linear(block.mlp.fc2, F.gelu(hidden), relevance * added / whole)  # GELU keeps it
        back = self.linear(block.mlp.fc1, block.norm2(middle), back)
        back = self.norm(block.norm2, middle, back) + relevance * middle / whole
        own = self.attention(block.attn, block.norm1(x), back * mixed / middle)
        return self.norm(block.norm1, x, own) + back * x / middle

    def run(self, image: Tensor, target: int) -> Tensor:
        """(3, H, W) relevance of a normalised image."""
        net, patches = self.network, F.unfold(image[None], 8, stride=8)[0].T
        embed = nn.Linear(patches.shape[1], WIDTH)
        embed.weight.data, embed.bias.data = net.patch_embed.proj.weight.flatten(1), net.patch_embed.proj.bias
        inputs = [embed(patches) + net.pos_embed[0]]
        for block in net.blocks:
            inputs.append(block(inputs[-1][None])[0])
        normed = net.norm(inputs[-1])
        pooled = normed.mean(0, keepdim=True)
        logits = net.head(pooled)
        relevance = self.linear(net.head, pooled, torch.where(torch.arange(3) == target, logits, 0.0))
        relevance = self.norm(net.norm, inputs[-1], normed / len(normed) / pooled * relevance)
        for block, x in zip(reversed(net.blocks), reversed(inputs[:-1])):
            relevance = self.block(block, x, relevance)
        own = relevance * embed(patches) / inputs[0]
        self.absorbed += float((relevance - own).sum())
        relevance = self.linear(embed, patches, own)
        return F.fold(relevance.T[None], (SIDE, SIDE), 8, stride=8)[0]


def product(a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Each factor of a matrix product gets half."""
    share = relevance / (a @ b) / 2
    return a * (share @ b.T), b * (a.T @ share)


@pytest.mark.parametrize("biased", [False, True])
@torch.no_grad()
def test_is_relevance_passed_back_explicitly_and_no_relevance_is_lost(biased: bool) -> None:
    model = vit(biased=biased)
    shares = AttnLRP()(model, pixels(), TARGET)
    logits = model(pixels())
    for image, target, found, logit in zip(model.normalise(pixels()), TARGET.tolist(), shares, logits):
        explicit = Explicit(model.network)  # type: ignore[arg-type]
        wanted = explicit.run(image, target)
        assert float((found - wanted).abs().max()) <= 1e-7 * float(wanted.abs().max())
        assert abs(float(found.sum()) + explicit.absorbed - float(logit[target])) <= 1e-4 * abs(float(logit[target]))


def test_agrees_with_lxt() -> None:
    reason = "compares with the authors' library: pip install --no-deps lxt"
    lxt = pytest.importorskip("lxt.explicit.functional", reason=reason)
    model, tiny = vit(biased=True), 1e-13
    net: Any = model.network

    def linear(layer: Any, x: Tensor) -> Tensor:
        return lxt.linear_epsilon(x, layer.weight, layer.bias, tiny)

    def norm(layer: Any, x: Tensor) -> Tensor:
        return lxt.layer_norm_grad_fn.apply(x, layer.weight, layer.bias, layer.eps, tiny)

    def add(a: Tensor, b: Tensor) -> Tensor:
        return lxt.add2_tensors_fn.apply(a, b, False, tiny)

    def attention(module: Any, x: Tensor) -> Tensor:
        query, key, value = linear(module.qkv, x).unflatten(1, (3, HEADS, -1)).permute(1, 2, 0, 3)
        query = query + (query * query.shape[-1] ** -0.5 - query).detach()  # keeps relevance
        scores = lxt.matmul_fn.apply(query, key.mT, False, tiny)
        mixed = lxt.matmul_fn.apply(lxt.softmax(scores, -1), value, False, tiny)
        return linear(module.proj, mixed.transpose(0, 1).flatten(1))

    def forward(image: Tensor) -> Tensor:
        patches = F.unfold(image[None], 8, stride=8)[0].T
        projection = net.patch_embed.proj
        x = lxt.linear_epsilon(patches, projection.weight.flatten(1), projection.bias, tiny)
        x = add(x, net.pos_embed[0])
        for block in net.blocks:
            x = add(x, attention(block.attn, norm(block.norm1, x)))
            hidden = linear(block.mlp.fc1, norm(block.norm2, x))
            hidden = hidden + (F.gelu(hidden) - hidden).detach()  # keeps relevance
            x = add(x, linear(block.mlp.fc2, hidden))
        return linear(net.head, lxt.mean(norm(net.norm, x), 0, True, tiny))[0]

    shares = AttnLRP()(model, pixels(), TARGET)
    for image, target, found in zip(model.normalise(pixels()), TARGET.tolist(), shares):
        leaf = image.clone().requires_grad_()
        logit = forward(leaf)[target]
        (wanted,) = torch.autograd.grad(logit, leaf, logit.detach())
        assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


def gate(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x.flip(1))


RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "activations": lambda x: F.gelu(x) + F.silu(x) + F.softplus(x),
    "in place": lambda x: F.relu(x * 1, inplace=True) + (x * 1).sigmoid_().mul_(x),
    "gate": gate,
    "operators": lambda x: x * x.flip(1) + 2 / x + x / (x.flip(1).abs() + 1),
    "batched product": lambda x: torch.bmm(x, x.mT.exp() @ x),
    "einsum": lambda x: torch.einsum("nij,nkj->nik", x, x.tanh()),
    "group norm": lambda x: F.group_norm(x, 2),
    "root mean square norm": lambda x: F.rms_norm(x, (6,)),
    "root mean square written out": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
    "layer norm written out": lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt(),
    "unit length": lambda x: F.normalize(x, dim=-1),
    "pooling": lambda x: F.max_pool1d(x, 2),
}


@pytest.mark.parametrize("rule", RULES)
def test_functions_without_bias_keep_all_relevance(rule: str) -> None:
    x = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    with _Relevance():
        score = (RULES[rule](x) * torch.linspace(1, 2, RULES[rule](x).shape[-1], dtype=torch.float64)).sum()
    (gradient,) = torch.autograd.grad(score, x)
    torch.testing.assert_close((gradient * x).sum(), score, rtol=1e-7, atol=1e-9)


def test_a_gate_shares_relevance_evenly_with_what_it_gates() -> None:
    x, y = (torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (3.0, 2.0))
    with _Relevance():
        score = (x * torch.sigmoid(y)).sum()
    shares = [float((gradient * one).detach()) for gradient, one in zip(torch.autograd.grad(score, (x, y)), (x, y))]
    assert shares == pytest.approx([float(score.detach()) / 2] * 2)


def test_a_network_without_attention_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(UnsupportedError, match=r"tiny has no attention.*saliency or integrated-gradients"):
        AttnLRP()(model, torch.rand(1, 3, 16, 16), torch.tensor([0]))


@pytest.mark.parametrize("name", ["Swin v1", "MaxViT"])
def test_relevance_of_windows_is_that_of_attention_written_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and a softmax, each by its rule, in place of PyTorch's own attention."""
    (architecture,) = (one for one in ARCHITECTURES if one.name == name)
    model, images = architecture.model(), architecture.pixels()
    fused = AttnLRP()(model, images, TARGET)

    def written_out(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0) -> Tensor:
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
        return (scores if attn_mask is None else scores + attn_mask).softmax(-1) @ value

    monkeypatch.setattr(F, "scaled_dot_product_attention", written_out)
    torch.testing.assert_close(AttnLRP()(model, images, TARGET), fused, rtol=1e-8, atol=1e-9 * float(fused.abs().max()))
