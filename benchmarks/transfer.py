"""Feature extraction and the table's SVM sweep, side by side with the plain way.

    python benchmarks/transfer.py DATA [--json] [--images 96] [--rounds 3]

The plain way: torchvision's transforms, eager float32, one layer a pass; scikit-learn's LinearSVC refitted for every
C and fold. timm's way: its transform, its DataLoader with a worker a thread, its `forward_features` (it has no
SqueezeNet; thingsvision wants a PyTorch older than ours). Ours: `extract` with the engine and precision that are
chosen, no features in the cache, and the engine's choice in it: "seconds/first-use" is what that took. The sweep
with all classes and folds at once. Same images, same threads, decoding included, in turn in one process; medians.
"ratio" is of wall-clock time, "cpu-ratio" of processor time, which neighbours on the machine disturb less; each is
the median over the rounds, with the least and largest as NAME/low and NAME/high. `vit_tiny` has random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.svm import LinearSVC as PlainSVC
from timm.data.transforms_factory import create_transform
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import InterpolationMode

from deepscope import wrap
from deepscope.data import ClassFolders, load_dataset
from deepscope.features import extract
from deepscope.models import VisionModel, load_model
from deepscope.models.classifier import Pooling
from deepscope.session import Session
from deepscope.transfer.heads import folds_of
from deepscope.transfer.heads.linear_svc import LinearSVC
from environment import environment, ratio

LAYERS: dict[str, list[tuple[str, Pooling]]] = {
    "vgg16": [("pool5", "mean")],
    "squeezenet1_0": [("features", "mean")],
    "efficientnet_lite0": [("global_pool", "mean")],
    "vit_tiny": [("fc_norm", "mean")],
}
BATCH = 32


def plain_features(model: VisionModel, layer: str, paths: list[Path]) -> np.ndarray:
    """What a person writes without a library: one loop, a hook, float32."""
    wanted = model.preprocessing
    transform: Any = transforms.Compose(
        [
            transforms.Resize(wanted.resize, InterpolationMode(wanted.interpolation)),
            transforms.CenterCrop(wanted.crop),  # pyright: ignore[reportArgumentType]
            transforms.ToTensor(),
            transforms.Normalize(wanted.mean, wanted.std),
        ]
    )
    found: list[torch.Tensor] = []
    module = model.layer(layer)
    vectors = []
    stop = module.register_forward_hook(lambda *seen: found.append(seen[2]))
    features = model.network.features if model.name == "vgg16" else model.network  # the classes' weights are not here
    assert isinstance(features, torch.nn.Module)
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            batch: list[torch.Tensor] = [
                transform(Image.open(path).convert("RGB")) for path in paths[start : start + BATCH]
            ]
            features(torch.stack(batch))
            output = found.pop()
            vectors.append(output.mean((2, 3)) if output.ndim == 4 else output)
    stop.remove()
    return torch.cat(vectors).numpy()


class _Listed(Dataset[Any]):
    """Images by path, opened as timm's own data set does."""

    def __init__(self, paths: list[Path], transform: Any) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def timm_network(model: VisionModel) -> Any:
    """The same weights in timm's own network; None where timm has no such network."""
    if model.name == "efficientnet_lite0":
        return model.network
    if model.name != "vgg16":
        return None
    network: Any = timm.create_model("vgg16", num_classes=0)
    features: Any = model.network.features
    network.features.load_state_dict(features.state_dict())
    return network.eval()


def timm_features(network: Any, model: VisionModel, paths: list[Path]) -> np.ndarray:
    """timm's transform, loader and `forward_features`, then the mean over the maps."""
    wanted = model.preprocessing
    assert isinstance(wanted.resize, int)
    transform = create_transform(
        wanted.size[0],
        interpolation=wanted.interpolation,
        mean=wanted.mean,
        std=wanted.std,
        crop_pct=wanted.size[0] / wanted.resize,
    )
    loader = DataLoader(_Listed(paths, transform), BATCH, num_workers=torch.get_num_threads())
    with torch.inference_mode():
        return torch.cat([network.forward_features(batch).mean((2, 3)) for batch in loader]).numpy()


def our_features(model: VisionModel, layer: tuple[str, Pooling], paths: list[Path], session: Session) -> np.ndarray:
    """deepscope's extraction, without any features in the cache."""
    shutil.rmtree(session.cache / "features", ignore_errors=True)
    return np.array(extract(model, [layer], paths, session).vectors[0])


def opened(name: str, session: Session) -> VisionModel:
    """A model by name, or timm's smallest vision transformer with random weights."""
    if name != "vit_tiny":
        return load_model(name, session)
    torch.manual_seed(0)
    return wrap(timm.create_model("vit_tiny_patch16_224", pretrained=False), name=name)


def plain_sweep(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> float:
    """Cross-validated grid search by refits, then one on everything. Returns the chosen C."""
    costs, accuracies = LinearSVC().costs, []
    for cost in costs:
        right = 0
        for fold in np.unique(folds):
            seen = folds != fold
            machine = PlainSVC(C=cost, random_state=0, max_iter=20_000).fit(features[seen], labels[seen])
            right += int(np.sum(machine.predict(features[~seen]) == labels[~seen]))
        accuracies.append(right)
    chosen = costs[int(np.argmax(accuracies))]
    PlainSVC(C=chosen, random_state=0, max_iter=20_000).fit(features, labels)
    return chosen


Seconds = Mapping[str, list[tuple[float, float]]]


def alternating(ways: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """(wall-clock, processor) seconds of each way in every round, one way after the other."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), sum(os.times()[:4])
            way()
            seconds[name].append((time.perf_counter() - wall, sum(os.times()[:4]) - processor))
    return seconds


def ratios(what: str, seconds: Seconds) -> dict[str, float]:
    """How many times quicker than each other way deepscope is, by rounds."""
    found: dict[str, float] = {}
    for way in seconds.keys() - {"deepscope"}:
        for place, kind in enumerate(("ratio", "cpu-ratio")):
            theirs, ours = ([one[place] for one in seconds[side]] for side in (way, "deepscope"))
            found |= ratio(f"{kind}/{what}/{way}", theirs, ours)
    return found


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="class folders, or 15scene")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="*", default=list(LAYERS))
    parser.add_argument("--sweep", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    session = Session.open(
        device="cpu",
        precision=arguments.precision,
        engine=arguments.engine,
        quiet=arguments.json,
        cache=Path(tempfile.mkdtemp()),
    )
    data = load_dataset(arguments.data, session, ClassFolders)
    step = max(1, len(data.train) // arguments.images)
    paths = list(data.train.paths[::step][: arguments.images])
    figures: dict[str, float] = {}
    engines: dict[str, str] = {}
    for name in arguments.models:
        model, layer = opened(name, session), LAYERS[name][0]
        session.engines.clear()
        ways: dict[str, Callable[[], np.ndarray]] = {
            "plain": lambda m=model, at=layer: plain_features(m, at[0], paths),
            "deepscope": lambda m=model, at=layer: our_features(m, at, paths, session),
        }
        if network := timm_network(model):
            ways["timm"] = lambda n=network, m=model: timm_features(n, m, paths)
        began = time.perf_counter()
        reference = torch.from_numpy(ways["deepscope"]())
        figures[f"seconds/first-use/{name}"] = time.perf_counter() - began
        engines[name] = "+".join(sorted(session.engines)) or "torch"
        for way in ways.keys() - {"deepscope"}:
            similarity = functional.cosine_similarity(reference, torch.from_numpy(ways[way]()))
            figures[f"similarity/{name}/{way}"] = similarity.min().item()
        seconds = alternating(ways, arguments.rounds)
        for way, rounds in seconds.items():
            figures[f"images-per-second/{name}/{way}"] = len(paths) / statistics.median(wall for wall, _ in rounds)
        figures |= ratios(f"features/{name}", seconds)
    if arguments.sweep:
        name = "efficientnet_lite0"
        vectors = extract(load_model(name, session), LAYERS[name], data.train.paths, session).vectors[0]
        features = functional.normalize(torch.from_numpy(vectors))
        labels = torch.from_numpy(data.train.labels)
        folds = folds_of(labels, seed=0)
        assert folds is not None
        chosen: dict[str, float] = {}

        def plain() -> None:
            chosen["plain"] = plain_sweep(features.double().numpy(), labels.numpy(), folds.numpy())

        def ours() -> None:
            chosen["deepscope"] = float(LinearSVC().fit(features, labels, folds).setting.removeprefix("C="))

        seconds = alternating({"plain": plain, "deepscope": ours}, 1)
        figures |= {f"seconds/sweep/{way}": rounds[0][0] for way, rounds in seconds.items()}
        figures |= {f"chosen-c/{way}": value for way, value in chosen.items()}
        figures |= ratios("sweep", seconds)
    if arguments.json:
        about = environment(session, engine=engines, images=len(paths))
        print(json.dumps({**figures, "environment": about}))
    else:
        for name, value in figures.items():
            print(f"{name:55} {value:10.3f}")


if __name__ == "__main__":
    main()
