"""Check deepscope on a GPU with one command, in under 8 minutes.

    python benchmarks/gpu.py [--device cuda] [--json FILE] [--parts ...] [--seconds 420]
    python benchmarks/gpu.py --device cpu --small          # the same code on any machine

Every registered method on the CPU and on the device, the same seed twice, bfloat16 and channels-last, batches that
size themselves, what is made for CPUs, training steps, feature extraction against its floor, throughput beside other
libraries. One line per record: its verdict (pass, fail, error or not measured) and figures. On each part runs in a
process of its own, so that one that crashes or hangs ends no other. The JSON file is whole after every record. The exit
status is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from deepscope.session import Session
from environment import environment

SECONDS = {
    "machine": 30,
    "methods": 120,
    "precision": 40,
    "rules": 40,
    "memory": 60,
    "training": 70,
    "extraction": 80,
    "peers": 90,
    "repeat": 60,
}
"""What each part may take at most, in the order in which they run; most take less."""
_FILES = {"repeat": "methods", "rules": "precision"}


def main(words: list[str] | None = None) -> int:
    """Run the parts asked for, print and keep what they find."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="", help="cuda where there is one, else cpu")
    parser.add_argument("--small", action="store_true", help="tiny networks and few images, for any machine")
    parser.add_argument("--json", type=Path, help="file for all records")
    parser.add_argument("--parts", nargs="+", choices=SECONDS, default=list(SECONDS))
    parser.add_argument("--seconds", type=float, default=420, help="what does not fit is not measured")
    parser.add_argument("--one-process", action="store_true", help="run all parts in this process")
    arguments = parser.parse_args(words)
    device = arguments.device or _device()
    end = time.monotonic() + arguments.seconds
    records: list[dict[str, Any]] = []
    alone = arguments.one_process or not device.startswith("cuda")
    for part in arguments.parts:
        left = end - time.monotonic()
        limit = min(left, SECONDS[part])
        run = _here if alone else _apart
        for record in run(part, device, arguments.small, left if alone else limit):
            records.append(record)
            if arguments.json:
                _keep(arguments.json, records, device, arguments.seconds - (end - time.monotonic()))
    if arguments.one_process and len(arguments.parts) == 1:
        return int(any(record["verdict"] in ("fail", "error") for record in records))
    counts = {verdict: sum(r["verdict"] == verdict for r in records) for verdict in _verdicts(records)}
    taken = arguments.seconds - (end - time.monotonic())
    print(f"{len(records)} records in {taken:.0f} s: " + ", ".join(f"{n} {v}" for v, n in counts.items()), flush=True)
    for record in records:
        if record["verdict"] in ("fail", "error"):
            print(f"  {record['verdict']} {record['part']}/{record['name']} {record['figures']} {record['note']}")
    return int(any(record["verdict"] in ("fail", "error") for record in records))


def _here(part: str, device: str, small: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """The records of one part, run in this process and printed as they come."""
    began = time.monotonic()
    if seconds <= 0:
        yield _said(part, "not measured", "no time left")
        return
    try:
        import torch

        found = import_module(f"gpu_parts.{_FILES.get(part, part)}")
        check = import_module("gpu_parts.check").Check(torch.device(device), small, began + seconds, part)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for record in getattr(found, part)(check):
                print(f"{time.monotonic() - began:6.1f} s  {record}", flush=True)
                yield record.to_json()
    except Exception as error:
        yield _said(part, "error", f"{type(error).__name__}: {str(error)[:300]}")


def _apart(part: str, device: str, small: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """The records of one part, run in a process of its own that is stopped where it hangs."""
    if seconds < 5:
        yield _said(part, "not measured", "no time left")
        return
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "records.json"
        command = [sys.executable, __file__, "--one-process", "--parts", part, "--device", device]
        command += ["--seconds", f"{seconds - 2:.1f}", "--json", str(kept), *(["--small"] if small else [])]
        reason = ""
        try:
            status = subprocess.run(command, timeout=seconds + 10, check=False).returncode
        except subprocess.TimeoutExpired:
            status, reason = 1, f"stopped after {seconds + 10:.0f} s"
        found = json.loads(kept.read_text())["records"] if kept.exists() else []
        yield from found
        if status not in (0, 1) or reason or not found:
            yield _said(part, "error", reason or f"its process ended with status {status}")


def _said(part: str, verdict: str, note: str) -> dict[str, Any]:
    print(f"{verdict:12} {part}  ({note})", flush=True)
    return {"part": part, "name": "part", "verdict": verdict, "figures": {}, "note": note}


def _keep(path: Path, records: list[dict[str, Any]], device: str, seconds: float) -> None:
    """Write all records; the file is whole at any moment."""
    temporary = path.with_name(path.name + ".partial")
    whole = {"device": device, "seconds": round(seconds, 1), "environment": environment(Session()), "records": records}
    temporary.write_text(json.dumps(whole, indent=1))
    os.replace(temporary, path)  # noqa: PTH105


def _verdicts(records: list[dict[str, Any]]) -> list[str]:
    return sorted({record["verdict"] for record in records})


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    raise SystemExit(main())
