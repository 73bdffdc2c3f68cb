"""The Inception distance, against torch-fidelity with random weights of the same network."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.models import Inception3

from deepscope.errors import FileError, MissingExtraError
from deepscope.gans.quality import INCEPTION, INCEPTION_SHA256, frechet_distance, inception, inception_features
from gan_commands import session


def random_weights() -> dict[str, Tensor]:
    """Of torchvision's network with the classes of TensorFlow's; activations keep their size from layer to layer."""
    torch.manual_seed(0)
    network = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network.state_dict()


def images(seed: int, count: int, channels: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 6, generator=rng)
    return (nn.functional.interpolate(coarse, (40, 48), mode="bilinear") * 255).byte()


class Listed(Dataset[Tensor]):
    """Images as torch-fidelity takes them."""

    def __init__(self, images: Tensor) -> None:
        self._images = images.expand(-1, 3, -1, -1)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> Tensor:
        return self._images[row]


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("random") / INCEPTION
    torch.save(random_weights(), path)
    return path


@pytest.fixture
def weights(weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of random weights in the place of the published ones, with its own digest."""
    path = tmp_path / "weights" / INCEPTION
    path.parent.mkdir()
    shutil.copyfile(weights_file, path)
    monkeypatch.setattr(inception, "INCEPTION_SHA256", inception.hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(inception, "_BYTES", path.stat().st_size)
    return path


def test_the_distance_is_torch_fidelity_s(weights: Path) -> None:
    torch_fidelity = pytest.importorskip("torch_fidelity", reason="compares with it: pip install 'deepscope[fid]'")
    first, second = images(0, 4, 1), images(1, 3, 3)
    features = inception_features(replace(session(), home=weights.parent.parent))
    found = frechet_distance(features(first), features(second))
    peer = torch_fidelity.calculate_metrics(
        input1=Listed(first),
        input2=Listed(second),
        fid=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        cuda=False,
        batch_size=4,
        save_cpu_ram=True,  # no worker processes
        verbose=False,
    )
    assert found > 0.1
    assert found == pytest.approx(peer["frechet_inception_distance"], rel=1e-3)


def test_only_the_published_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights" / INCEPTION
    home = replace(session(), home=tmp_path)
    with pytest.raises(FileError, match=rf"put {INCEPTION} into {path.parent}"):
        inception_features(home)
    path.parent.mkdir()
    path.write_bytes(b"PK")
    with pytest.raises(FileError, match=rf"is not the published file \(.* bytes, not 95628359\).* {INCEPTION_SHA256}"):
        inception_features(home)


def test_a_file_of_the_right_size_alone_is_not_enough(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(FileError, match="another SHA-256"):
        inception_features(replace(session(), home=weights.parent.parent))


def test_the_published_digest_is_the_one_in_its_name() -> None:
    assert f"-{INCEPTION_SHA256[:8]}.pth" in INCEPTION  # torch.hub's convention


def test_without_torch_fidelity_the_extra_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"deepscope\[fid\]"):
        inception_features(replace(session(), home=weights.parent.parent))
