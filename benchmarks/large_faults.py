"""Kills workers, nodes and the whole program of a job on Ray at random moments, and compares the parts with whole ones.

    python benchmarks/large_faults.py --images photos/ --limit 200 --workers 20 --programs 10 --nodes 1

The parts of an undisturbed run in one process are computed first. Names of parts carry the digests of their bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def line(given: argparse.Namespace, out: Path, *more: str) -> list[str]:
    """The command line of the job."""
    images = [str(given.images), "--limit", str(given.limit), "--shard-size", "5", "--device", "cpu"]
    return [sys.executable, "-m", "deepscope", "explain", "grad-cam", *images, "--out", str(out), "--quiet", *more]


def parts(out: Path) -> list[str]:
    """Names of the finished parts."""
    return sorted(path.name for path in (out / "parts").glob("part-*.parquet"))


def own(process: psutil.Process, kind: str) -> list[psutil.Process]:
    """Processes that it started, with a word in their command line."""
    found = []
    for child in process.children(recursive=True):
        try:
            found += [child] if kind in " ".join(child.cmdline()) else []
        except psutil.Error:
            continue
    return found


def kill_workers(given: argparse.Namespace, place: Path, wanted: list[str]) -> None:
    """SIGKILL one of two workers again and again; every job must end by itself."""
    done, jobs = 0, 0
    while done < given.workers:
        out, jobs = place / f"workers-{jobs}", jobs + 1
        job = psutil.Popen(line(given, out, "--workers", "2"), stdout=subprocess.DEVNULL)
        while job.poll() is None:
            time.sleep(random.uniform(0.2, 4))
            if done < given.workers and len(parts(out)) < len(wanted) and (found := own(job, "ray::_Actor")):
                random.choice(found).kill()
                done += 1
        print(f"{done} workers killed; job ended with {job.poll()}, same parts: {parts(out) == wanted}", flush=True)


def kill_programs(given: argparse.Namespace, place: Path, wanted: list[str]) -> None:
    """SIGKILL the program, see what Ray leaves, and run the same command at once."""
    for number in range(given.programs):
        out = place / f"program-{number}"
        job = psutil.Popen(line(given, out, "--workers", "2"), stdout=subprocess.DEVNULL)
        until = random.randrange(len(wanted))
        while job.poll() is None and len(parts(out)) < until:
            time.sleep(0.05)
        started = []
        with contextlib.suppress(psutil.NoSuchProcess):  # where the job was quicker
            started = job.children(recursive=True)
            job.kill()
        job.wait()
        had, left = len(parts(out)), list[int]()
        again = psutil.Popen(line(given, out, "--workers", "2"), stdout=subprocess.DEVNULL)
        for seconds in (5, 10, 15):
            time.sleep(seconds)
            left.append(sum(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in started))
        status = again.wait()
        text = f"killed with {had} of {len(wanted)} parts; of {len(started)} processes {left} left after 5, 15, 30 s"
        print(f"program {text}; then status {status}, same parts: {parts(out) == wanted}", flush=True)


def kill_nodes(given: argparse.Namespace, place: Path, wanted: list[str]) -> None:
    """Two raylets on this machine stand for two nodes; one is killed."""
    from ray.cluster_utils import Cluster

    for number in range(given.nodes):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        node = cluster.add_node(num_cpus=1)
        out = place / f"nodes-{number}"
        more = ("--workers", "2", "--cluster", str(cluster.address))
        job = psutil.Popen(line(given, out, *more), stdout=subprocess.DEVNULL)
        while job.poll() is None and len(parts(out)) < len(wanted) // 4:
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)
        status = job.wait()
        print(f"a node of two killed; job ended with {status}, same parts: {parts(out) == wanted}", flush=True)
        cluster.shutdown()


def main() -> None:
    """Print one line per job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--workers", type=int, default=20, help="workers to kill")
    parser.add_argument("--programs", type=int, default=10, help="programs to kill")
    parser.add_argument("--nodes", type=int, default=1, help="nodes to kill")
    given = parser.parse_args()
    os.environ.pop("RAY_ADDRESS", None)
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run(line(given, place / "whole"), check=True, stdout=subprocess.DEVNULL)
        wanted = parts(place / "whole")
        print(f"{len(wanted)} parts", flush=True)
        kill_workers(given, place, wanted)
        kill_programs(given, place, wanted)
        kill_nodes(given, place, wanted)


if __name__ == "__main__":
    main()
