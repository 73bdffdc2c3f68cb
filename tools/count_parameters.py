"""Count the parameters of every architecture of the installed torchvision and timm.

Writes src/deepscope/models/parameters.json, which lets `deepscope models --all` answer at once.
Run it when timm brings new architectures: python tools/count_parameters.py
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.progress import track

from deepscope.models import architectures

TARGET = Path(__file__).parent.parent / "src" / "deepscope" / "models" / "parameters.json"


def main() -> None:
    """Build each network on the meta device and count."""
    counted = {}
    specs = [f"{library}:{name}" for library in architectures.LIBRARIES for name in architectures.names(library)]
    for spec in track(specs, "counting"):
        try:
            counted[spec] = sum(parameter.numel() for parameter in architectures.skeleton(spec).parameters())
        except (ImportError, RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError) as error:
            print(f"{spec}: {str(error).splitlines()[0]}")
    TARGET.write_text(json.dumps(counted, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
