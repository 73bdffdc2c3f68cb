"""Attributions of transformers against slow loops over blocks, heads and tokens, in float64 on tiny networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from timm.layers.config import set_fused_attn, use_fused_attn
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from architectures import ARCHITECTURES, Architecture
from deepscope.attributions import AttentionRollout, AttnLRP, Attribution, GenericAttention, LeGrad, compare
from deepscope.errors import UnsupportedError
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.attention import attended, matrices, matrices_with_gradients
from deepscope.session import Session
from networks import tiny_model

SIDE = 32
METHODS = (AttentionRollout(), GenericAttention(), LeGrad())
THROUGH_ATTENTION = (*METHODS, AttnLRP())
TARGET = torch.tensor([2, 1])


def pixels(count: int = 2) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def spread(network: nn.Module) -> nn.Module:
    """Weights of ordinary size, so that attention differs from a mean."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            deviation = 1.5 * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            parameter.add_(torch.randn(parameter.shape, generator=generator) * deviation)
    return network.double().eval()


def as_model(network: nn.Module) -> VisionModel:
    preprocessing = Preprocessing(SIDE, SIDE, mean=(0.5,) * 3, std=(0.5,) * 3)
    return VisionModel("vit", spread(network), preprocessing, ("a", "b", "c"))


def vit(**settings: Any) -> VisionTransformer:
    return VisionTransformer(SIDE, 8, embed_dim=12, depth=3, num_heads=3, num_classes=3, **settings)


def plain_tokens(network: Any, image: Tensor) -> Tensor:
    """(tokens, channels) that the first block takes."""
    return network._pos_embed(network.patch_embed(image[None] * 2 - 1))[0]


def plain_block(block: Any, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What a block makes of the tokens, and a (tokens, tokens) matrix per head that is part of its graph."""
    qkv = block.attn.qkv(block.norm1(tokens))
    query, key, value = qkv.view(len(tokens), 3, 3, 4).permute(1, 2, 0, 3)
    heads = []
    for head in range(3):
        scores = torch.stack([key[head] @ query[head][i] / math.sqrt(4) for i in range(len(tokens))])
        heads.append(scores.exp() / scores.exp().sum(1, keepdim=True))
        if heads[-1].requires_grad:
            heads[-1].retain_grad()
    mixed = torch.cat([weights @ value[head] for head, weights in enumerate(heads)], 1)
    tokens = tokens + block.attn.proj(mixed)
    return tokens + block.mlp(block.norm2(tokens)), heads


def plain_head(network: Any, tokens: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
    """The logits of the last block's tokens, and a (1, tokens) matrix per head where these are pooled by attention."""
    tokens = network.norm(tokens)
    pool = network.attn_pool
    if pool is None:
        return network.forward_head(tokens[None])[0], []
    query, key, value = pool.q(pool.latent[0]).view(3, 4), *pool.kv(tokens).view(len(tokens), 2, 3, 4).unbind(1)
    heads = [(key[:, head] @ query[head] / math.sqrt(4)).softmax(0)[None] for head in range(3)]
    for weights in heads:
        if weights.requires_grad:
            weights.retain_grad()
    mixed = pool.proj(torch.cat([weights @ value[:, head] for head, weights in enumerate(heads)], 1))
    return network.head(network.fc_norm(mixed + pool.mlp(pool.norm(mixed))))[0], [heads]


def plain_forward(network: Any, image: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
    """The logits of one image, and a matrix per block and head that is part of their graph."""
    tokens, kept = plain_tokens(network, image), []
    for block in network.blocks:
        tokens, heads = plain_block(block, tokens)
        kept.append(heads)
    logits, pooled = plain_head(network, tokens)
    return logits, kept + pooled


def slow_rollout(network: VisionTransformer, image: Tensor, target: int) -> Tensor:
    with torch.no_grad():
        _, blocks = plain_forward(network, image)
    rolled = torch.eye(len(blocks[0][0]), dtype=torch.float64)
    for heads in blocks:
        step, pooled = torch.zeros_like(heads[0]), len(heads[0]) == 1
        for i in range(len(step)):
            for j in range(step.shape[1]):
                step[i, j] = sum(float(head[i, j]) for head in heads) / len(heads) + (i == j and not pooled)
            step[i] /= step[i].sum()
        rolled = step @ rolled
    return rolled


def slow_generic(network: VisionTransformer, image: Tensor, target: int) -> Tensor:
    logits, blocks = plain_forward(network, image.clone().requires_grad_())
    logits[target].backward()
    relevance = torch.eye(len(blocks[0][0]), dtype=torch.float64)
    for heads in blocks:
        step = torch.zeros_like(heads[0]).detach()
        for head in heads:
            assert head.grad is not None
            for i in range(len(step)):
                for j in range(step.shape[1]):
                    step[i, j] += max(0.0, float(head[i, j].detach() * head.grad[i, j])) / len(heads)
        if len(step) == 1:
            return step @ relevance
        relevance = relevance + step @ relevance
    return relevance - torch.eye(len(relevance), dtype=torch.float64)


def slow_legrad(network: VisionTransformer, image: Tensor, target: int) -> Tensor:
    """The same row for every query: one network after another, each of which ends after one block more."""
    tokens, total = plain_tokens(network, image), torch.tensor(0.0)
    for block in network.blocks:
        tokens, heads = plain_block(block, tokens.detach().requires_grad_())
        logits, pooled = plain_head(network, tokens)
        logits[target].backward()
        for head in pooled[0] if pooled else heads:
            assert head.grad is not None
            positive = torch.tensor([[max(0.0, float(value)) for value in row] for row in head.grad], dtype=image.dtype)
            total = total + positive.sum(0) / len(positive) / len(heads) / len(network.blocks)
    return total.expand(len(total), -1)


SLOW = list(zip(METHODS, (slow_rollout, slow_generic, slow_legrad)))
READ: dict[str, tuple[dict[str, Any], int, list[int]]] = {
    "class token": ({}, 1, [0]),
    "class token and registers": ({"reg_tokens": 2}, 3, [0]),
    "patches averaged": ({"class_token": False, "global_pool": "avg"}, 0, list(range(16))),
    "patches averaged, class token unread": ({"global_pool": "avg"}, 1, list(range(1, 17))),
    "registers unread": (
        {"class_token": False, "reg_tokens": 2, "global_pool": "avg"},
        2,
        list(range(2, 18)),
    ),
    "pooled by attention": ({"class_token": False, "global_pool": "map"}, 0, [0]),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize(("method", "slow"), SLOW, ids=["rollout", "generic", "legrad"])
def test_is_the_slow_loop(method: Attribution, slow: Callable[..., Tensor], kind: str) -> None:
    settings, prefix, rows = READ[kind]
    network = vit(**settings)
    model = as_model(network)
    found = attended(model, pixels())
    assert (found.grid, found.prefix, list(found.read)) == ((4, 4), prefix, rows)
    wanted = torch.stack(
        [slow(network, image, int(target))[rows, prefix:].mean(0) for image, target in zip(pixels(), TARGET)]
    )
    wanted = F.interpolate(wanted.view(2, 1, 4, 4), (SIDE, SIDE), mode="bilinear")[:, 0]
    assert wanted.std() > 1e-6
    torch.testing.assert_close(method(model, pixels(), TARGET), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", THROUGH_ATTENTION, ids=lambda one: one.name)
def test_eager_and_fused_attention_of_timm_give_the_same_map(method: Attribution) -> None:
    before = use_fused_attn()
    found = []
    try:
        for fused in (True, False):
            set_fused_attn(fused)
            torch.manual_seed(0)
            network = vit()
            assert all(block.attn.fused_attn is fused for block in network.blocks)  # type: ignore[union-attr]
            found.append(method(as_model(network), pixels(), TARGET))
    finally:
        set_fused_attn(bool(before))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def torchvision_twin(network: VisionTransformer) -> nn.Module:
    """torchvision's network with the weights of timm's."""
    twin = models.VisionTransformer(SIDE, 8, 3, 3, 12, 48, num_classes=3)
    own = {
        "class_token": network.cls_token,
        "encoder.pos_embedding": network.pos_embed,
        "conv_proj": network.patch_embed.proj,
        "encoder.ln": network.norm,
        "heads.head": network.head,
    }
    for i, block in enumerate(network.blocks):
        at = f"encoder.layers.encoder_layer_{i}"
        own |= {f"{at}.ln_1": block.norm1, f"{at}.ln_2": block.norm2}  # type: ignore[union-attr]
        own |= {f"{at}.mlp.0": block.mlp.fc1, f"{at}.mlp.3": block.mlp.fc2}  # type: ignore[union-attr]
        own |= {f"{at}.self_attention.out_proj": block.attn.proj}  # type: ignore[union-attr]
        own |= {f"{at}.self_attention.in_proj_{kind}": getattr(block.attn.qkv, kind) for kind in ("weight", "bias")}  # type: ignore[union-attr]
    state = {}
    for name, part in own.items():
        state |= {name: part} if isinstance(part, Tensor) else {f"{name}.{k}": v for k, v in part.state_dict().items()}
    twin.load_state_dict(state)
    return twin.double().eval()


@pytest.mark.parametrize("method", THROUGH_ATTENTION, ids=lambda one: one.name)
def test_multi_head_attention_of_torchvision_gives_the_map_of_timm(method: Attribution) -> None:
    network = vit()
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    model = as_model(network)
    twin = replace(model, network=torchvision_twin(network))
    with torch.no_grad():
        torch.testing.assert_close(twin(pixels()), model(pixels()))
    torch.testing.assert_close(method(twin, pixels(), TARGET), method(model, pixels(), TARGET), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", THROUGH_ATTENTION, ids=lambda one: one.name)
def test_eager_and_fused_attention_of_transformers_give_the_same_map(method: Attribution) -> None:
    library = pytest.importorskip("transformers", reason="pip install 'deepscope[hf]'")
    found = []
    for kind in ("eager", "sdpa"):
        torch.manual_seed(0)
        config = library.ViTConfig(
            hidden_size=12, num_hidden_layers=3, num_attention_heads=3, intermediate_size=24, image_size=SIDE,
            patch_size=8, num_labels=3, attn_implementation=kind,
        )  # fmt: skip
        found.append(method(as_model(library.ViTForImageClassification(config)), pixels(), TARGET))
    assert found[0].std() > 1e-6
    # eager attention of transformers computes its softmax in single precision
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6 * float(found[1].abs().max()))


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_matrices_and_gradients_are_those_that_transformers_returns(kind: str) -> None:
    library = pytest.importorskip("transformers", reason="pip install 'deepscope[hf]'")
    config = library.ViTConfig(
        hidden_size=12, num_hidden_layers=3, num_attention_heads=3, intermediate_size=24, image_size=SIDE,
        patch_size=8, num_labels=3, attn_implementation=kind,
    )  # fmt: skip
    model = as_model(library.ViTForImageClassification(config))
    found = matrices_with_gradients(model, pixels(), TARGET)
    network: Any = model.network
    network.set_attn_implementation("eager")
    output = network(model.normalise(pixels().requires_grad_()), output_attentions=True)
    wanted = torch.autograd.grad(output.logits.gather(1, TARGET[:, None]).sum(), output.attentions)
    assert len(found) == 3
    for (matrix, gradient), given, expected in zip(found, output.attentions, wanted):
        torch.testing.assert_close(matrix, given, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "prefix", "read"),
    [("DeiT, distilled", 2, (0, 1)), ("ViT, SigLIP", 0, (0,)), ("ViT, registers", 6, (0,)), ("EVA-02", 1, None)],
)
def test_knows_which_tokens_are_read(name: str, prefix: int, read: tuple[int, ...] | None) -> None:
    (architecture,) = (one for one in ARCHITECTURES if one.name == name)
    found = attended(architecture.model(), architecture.pixels())
    assert found.grid == (4, 4) and found.prefix == prefix
    assert found.read == (tuple(range(1, 17)) if read is None else read)


@pytest.mark.parametrize(
    "architecture",
    [one for one in ARCHITECTURES if one.name.startswith(("ViT", "DeiT", "EVA"))],
    ids=lambda one: one.name,
)
def test_logits_are_those_of_an_ordinary_pass(architecture: Architecture) -> None:
    model = architecture.model()
    found, logits = matrices(model, architecture.pixels())
    torch.testing.assert_close(logits, model(architecture.pixels()), rtol=1e-10, atol=1e-10)
    for matrix in found:
        torch.testing.assert_close(matrix.sum(-1), torch.ones_like(matrix.sum(-1)))


@pytest.mark.parametrize(
    "settings",
    [
        {"is_causal": True},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril(1)},
        {"attn_mask": torch.linspace(-1, 1, 25, dtype=torch.float64).view(5, 5), "scale": 0.3},
        {"enable_gqa": True},
    ],
    ids=["causal", "mask", "bias", "grouped"],
)
def test_explicit_attention_is_the_fused_one(settings: dict[str, Any]) -> None:
    from deepscope.models.attention import explicit_attention

    generator = torch.Generator().manual_seed(0)
    heads = 2 if "enable_gqa" in settings else 4
    query, key, value = (
        torch.randn(2, count, 5, 3, generator=generator, dtype=torch.float64) for count in (4, heads, heads)
    )
    weights, values = explicit_attention(query, key, value, **settings)
    torch.testing.assert_close(weights @ values, F.scaled_dot_product_attention(query, key, value, **settings))


def passes(model: VisionModel, run: Callable[[], object]) -> int:
    counted: list[int] = []
    handle = model.network.register_forward_pre_hook(lambda *_: counted.append(1))
    run()
    handle.remove()
    return len(counted)


@pytest.mark.parametrize("method", THROUGH_ATTENTION, ids=lambda one: one.name)
def test_one_forward_pass_for_a_batch(method: Attribution) -> None:
    model = as_model(vit())
    method(model, pixels(1), TARGET[:1])  # the first call finds what the attention is over
    assert passes(model, lambda: method(model, pixels(), TARGET)) == 1


def test_rollout_alone_is_the_same_for_every_class() -> None:
    model = as_model(vit())
    for method, same in zip(THROUGH_ATTENTION, (True, False, False, False)):
        one, other = (method(model, pixels(1), torch.tensor([target])) for target in (0, 1))
        assert torch.equal(one, other) is same


REASONS = {
    "ResNet": "has no attention,",
    "MLP-Mixer": "has no attention,",
    "Swin v1": "attends within windows",
    "Swin, torchvision": "attends within windows",
    "MaxViT": "attends within windows",
    "XCiT": "attends within windows, over channels",
    "FastViT": "mixes positions by convolutions",
}


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.name)
def test_says_why_a_network_is_refused(method: Attribution, name: str) -> None:
    (architecture,) = (one for one in ARCHITECTURES if one.name == name)
    model = architecture.model()
    with pytest.raises(UnsupportedError) as raised:
        method(model, architecture.pixels(), torch.tensor([0, 1]))
    said = str(raised.value)
    assert said.startswith(f"{model.name} {REASONS[name]}") and "\n" not in said
    assert "saliency or integrated-gradients" in said


def test_attention_that_changes_its_matrix_is_refused() -> None:
    network = timm.create_model("cait_xxs24_224", img_size=SIDE, embed_dim=16, depth=2, num_heads=2, num_classes=3)
    with pytest.raises(UnsupportedError, match="form that cannot be read"):
        AttentionRollout()(as_model(network), pixels(), TARGET)


def test_compare_leaves_the_column_of_a_network_without_attention_empty() -> None:
    images, methods = (
        torch.rand(1, 3, 16, 16),
        ["saliency", "attention-rollout", "generic-attention", "legrad", "attn-lrp"],
    )
    found = compare(tiny_model(), images, methods, session=Session(quiet=True))
    assert list(found.maps) == ["saliency"] and list(found.refused) == methods[1:]


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused() -> None:
    model = tiny_model()
    script = torch.jit.trace(model.network, torch.rand(1, 3, 16, 16))
    with pytest.raises(UnsupportedError, match="is TorchScript"):
        GenericAttention()(replace(model, network=script), torch.rand(1, 3, 16, 16), TARGET[:1])  # type: ignore[arg-type]
