from __future__ import annotations

import pytest
import torch

from deepscope.errors import DeepscopeError
from deepscope.gans import Architecture, Discriminator, Generator


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameters_of_the_published_dcgan() -> None:
    # 64 x 64 RGB with z of 100 and 64 filters, as in the paper; the figures are PyTorch's example's.
    published = Architecture(side=64, latent=100, width=64)
    assert parameters(Generator(published, 3, 0)) == 3_576_704
    assert parameters(Discriminator(published, 3, 0)) == 2_765_568


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("label", ["concatenated", "projected", "absent"])
def test_shapes_at_every_size(side: int, channels: int, label: str) -> None:
    architecture = Architecture(side=side, latent=5, width=2, label_in_discriminator=label)  # type: ignore[arg-type]
    labels = torch.tensor([0, 2])
    images = Generator(architecture, channels, 3)(torch.randn(2, 5), labels)
    assert images.shape == (2, channels, side, side)
    assert images.abs().max() <= 1
    assert Discriminator(architecture, channels, 3)(images, labels).shape == (2,)


@pytest.mark.parametrize("label", ["concatenated", "projected", "absent"])
def test_the_discriminator_sees_y_unless_it_is_removed(label: str) -> None:
    torch.manual_seed(0)
    network = Discriminator(Architecture(side=16, width=4, label_in_discriminator=label), 1, 3).eval()  # type: ignore[arg-type]
    images = torch.randn(1, 1, 16, 16)
    first, second = (network(images, torch.tensor([y])) for y in (0, 1))
    assert torch.equal(first, second) == (label == "absent")


@pytest.mark.parametrize("normalisation", ["layer", "none"])
def test_labels_are_planes_behind_the_first_features(normalisation: str) -> None:
    torch.manual_seed(0)
    architecture = Architecture(side=16, width=4, normalisation=normalisation)  # type: ignore[arg-type]
    network = Discriminator(architecture, 1, 3).double()
    with torch.no_grad():
        for parameter in network.parameters():  # the bias starts at 0
            parameter.normal_()
    images, labels = torch.randn(5, 1, 16, 16, dtype=torch.float64), torch.tensor([0, 2, 1, 2, 2])
    features = network.first(images)
    planes = torch.nn.functional.one_hot(labels, 3).to(features)[:, :, None, None].expand(-1, -1, 8, 8)
    last = network.layers(torch.cat([features, planes], dim=1))
    expected = network.head(last.permute(0, 2, 3, 1).flatten(1)).squeeze(1)
    found = network(images, labels)
    torch.testing.assert_close(found, expected)
    gradients, theirs = (torch.autograd.grad(out.sum(), list(network.parameters())) for out in (found, expected))
    torch.testing.assert_close(gradients, theirs)


def test_the_first_layer_is_the_papers_transposed_convolution() -> None:
    torch.manual_seed(0)
    generator = Generator(Architecture(side=16, latent=6, width=3), 1, 0)
    z = torch.randn(4, 6)
    weight = generator.start.weight.T.unflatten(1, (-1, 4, 4))
    expected = torch.nn.functional.conv_transpose2d(z[:, :, None, None], weight)
    torch.testing.assert_close(generator.start(z).unflatten(1, (-1, 4, 4)), expected)


def test_spectral_norm_brings_every_weight_matrix_to_norm_one() -> None:
    torch.manual_seed(0)
    network = Discriminator(Architecture(side=16, width=4, normalisation="spectral"), 1, 0)
    images, labels = torch.randn(2, 1, 16, 16), torch.zeros(2, dtype=torch.int64)
    for _ in range(100):  # one power iteration each
        network(images, labels)
    network.eval()
    weights = [m.weight for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(weights) == 3
    for weight in weights:
        assert float(torch.linalg.svdvals(weight.detach().flatten(1))[0]) == pytest.approx(1, abs=0.02)


def test_without_normalisation_nothing_grows_or_shrinks_on_its_way() -> None:
    torch.manual_seed(0)
    network = Discriminator(Architecture(side=32, width=64, normalisation="none"), 1, 0)
    with torch.no_grad():
        first = network.first(torch.randn(16, 1, 32, 32))
        last = network.layers(first)
    assert 0.7 < float(last.square().mean().sqrt() / first.square().mean().sqrt()) < 1.4


def test_packing_evaluates_images_together() -> None:
    network = Discriminator(Architecture(side=16, width=2, packing=2), 1, 0).eval()
    images, labels = torch.randn(6, 1, 16, 16), torch.zeros(6, dtype=torch.int64)
    logits = network(images, labels)
    assert logits.shape == (3,)
    torch.testing.assert_close(network(images[2:4], labels[:2]), logits[1:2])


@pytest.mark.parametrize(
    ("settings", "words"), [({"side": 48}, "side must be 16, 32"), ({"width": 0}, "width 0 is out of range")]
)
def test_what_cannot_be_built(settings: dict[str, int], words: str) -> None:
    with pytest.raises(DeepscopeError, match=words):
        Architecture(**settings).require_buildable()  # type: ignore[arg-type]
    with pytest.raises(DeepscopeError, match="no label in common"):
        Architecture(packing=2).require_buildable(conditional=True)
