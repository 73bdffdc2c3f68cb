"""Collect the wheels that a GPU machine without a network lacks.

    python tools/collect_gpu_wheels.py TARGET --present FILE [--fresh NAME ...]

The wheels are those of deepscope's own dependencies and of the peers that `benchmarks/gpu.py` compares it with, and all
that they need. FILE lists what is installed on that machine, as `pip list` prints it; names separated by
commas are read as well. Copy the repository and TARGET there, and run:

    python3 -m pip install --no-index --no-deps --target /tmp/site TARGET/*.whl
    PYTHONPATH=/tmp/site:src python3 benchmarks/gpu.py --json gpu.json

A peer whose wheel cannot be had is left out, with a line on stderr: the benchmark reports it as not measured.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PEERS = ("captum", "grad-cam", "foolbox", "torchattacks")
"""What `benchmarks/gpu.py` compares with, beside what the machine has; pyproject.toml says which versions."""
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 27, 28, 31, 34, 35)] + ["manylinux2014_x86_64"]


def main() -> None:
    """Download, and print each wheel and the total size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="folder for the wheels; wheels that it already holds are kept")
    parser.add_argument("--present", type=Path, required=True, help="what is installed on the machine")
    parser.add_argument("--fresh", nargs="*", default=[], help="collect these although they are present")
    parser.add_argument("--python", default="3.12", help="the machine's Python (default: 3.12)")
    parser.add_argument("--most", type=float, default=50, help="MB that the wheels may take together (default: 50)")
    arguments = parser.parse_args()
    present = installed(arguments.present.read_text()) - {canonicalize_name(name) for name in arguments.fresh}
    arguments.target.mkdir(parents=True, exist_ok=True)
    collect(arguments.target, present, arguments.python)
    sizes = {wheel.name: wheel.stat().st_size / 1e6 for wheel in sorted(arguments.target.glob("*.whl"))}
    print("\n".join(f"{size:7.2f} MB  {name}" for name, size in sizes.items()))
    print(f"{sum(sizes.values()):7.2f} MB in all, {len(sizes)} wheels")
    if sum(sizes.values()) > arguments.most:
        raise SystemExit(f"the wheels take more than {arguments.most:g} MB: name fewer with --fresh")


def installed(listing: str) -> set[str]:
    """The names in what `pip list` printed, or in a list separated by commas."""
    words = (line.split()[0] for part in listing.split(",") for line in part.splitlines() if line.split())
    return {canonicalize_name(re.split(r"[=@]", word)[0].rstrip(".")) for word in words}


def collect(target: Path, present: set[str], python: str) -> None:
    """Download what is missing, then what that needs, until nothing is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": "",
    }
    extras = [Requirement(text) for texts in project["optional-dependencies"].values() for text in texts]
    waiting = [Requirement(text) for text in project["dependencies"]]
    waiting += [wanted for wanted in extras if wanted.name in PEERS]
    seen: set[str] = set(present)
    while waiting:
        wanted = waiting.pop(0)
        name = canonicalize_name(wanted.name)
        if name in seen or (wanted.marker and not wanted.marker.evaluate(environment)):
            continue
        seen.add(name)
        wheel = of(target, name) or download(target, wanted, python)
        if wheel is None and wanted.name not in PEERS:
            raise SystemExit(f"no wheel of {wanted} can be had for Python {python}")
        waiting.extend(needs(wheel) if wheel else ())


def of(target: Path, name: str) -> Path | None:
    """The folder's wheel of that name, if it has one."""
    return next((w for w in target.glob("*.whl") if canonicalize_name(w.name.split("-")[0]) == name), None)


def download(target: Path, wanted: Requirement, python: str) -> Path | None:
    """The wheel of a requirement alone, built from its source where only that is published; None where that fails."""
    pip, text = [sys.executable, "-m", "pip"], f"{wanted.name}{wanted.specifier}"
    ready = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(target)]
    ready += ["--python-version", python, "--implementation", "cp"]
    ready += [word for platform in PLATFORMS for word in ("--platform", platform)]
    made = [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target)]
    for command in (ready, made):
        done = subprocess.run([*command, text], capture_output=True, text=True, check=False)
        wheel = of(target, canonicalize_name(wanted.name))
        if not done.returncode and wheel is not None:
            if command is ready or wheel.name.endswith("-none-any.whl"):
                return wheel
            wheel.unlink()  # compiled for this machine's Python
        print(f"{text}: {' '.join(done.stderr.split())[-200:]}", file=sys.stderr)
    return None


def needs(wheel: Path) -> Iterable[Requirement]:
    """The requirements that a wheel states, those of extras included; their markers decide."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA"))
        stated = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    for text in stated:
        try:
            yield Requirement(text)
        except InvalidRequirement:
            print(f"{wheel.name}: cannot read the requirement {text!r}", file=sys.stderr)


if __name__ == "__main__":
    main()
