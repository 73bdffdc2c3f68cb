"""What the cache holds of networks on this machine: how quick engines were, networks as ONNX, batches that agree."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor, nn

from deepscope.kept import Cache, code_of
from deepscope.machine import machine
from deepscope.models.engines import Engine, as_onnx
from deepscope.models.identity import network_sha256
from deepscope.session import Session

_MOST_BYTES = 2**28
"""Of an exported network that is kept."""


class Kept:
    """What the cache holds of a module: what was measured of it, and the network as ONNX.

    Args:
        module: the network.
        example: (N, ...) inputs.
        session: its cache and precision.
        network: the module's `network_sha256`, where it is known.

    Attributes:
        name: changes with the module's layers, weights and code, the input's shape, the machine and the versions.
    """

    def __init__(self, module: nn.Module, example: Tensor, session: Session, *, network: str = "") -> None:
        self._module, self._example = module, example
        self._cache = Cache(session, session.cache / "engines")
        precision = (session.precision, session.may_halve)
        about = [
            {**machine(), "threads": torch.get_num_threads()},
            network or network_sha256(module),
            tuple(example.shape[1:]),
            precision,
            code_of(__name__),
        ]
        self.name = hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def known(self, what: str = "engines") -> dict[str, float]:
        """What `keep` was given under this name; empty where nothing is kept. Engines: seconds per image by name."""
        content = self._cache.read(f"{self.name}.{what}.json")
        return json.loads(content) if content else {}

    def keep(self, what: str, found: dict[str, float]) -> None:
        """Keep what was measured."""
        self._cache.write(f"{self.name}.{what}.json", json.dumps(found).encode())

    def ready(self, engine: Engine) -> bool:
        """Whether the engine needs no export."""
        return "onnx" in engine.packages and (self._cache.folder / f"{self.name}.onnx").is_file()

    def exported(self) -> bytes:
        """The network as ONNX, exported now where it is not kept."""
        content = self._cache.read(f"{self.name}.onnx")
        if content is None:
            content = as_onnx(self._module, self._example)
            if len(content) < _MOST_BYTES:
                self._cache.write(f"{self.name}.onnx", content)
        return content
