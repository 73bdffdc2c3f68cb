"""Data from the web: digits as idx files, and archives that are unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.io import savemat

from deepscope.data.digits import read_digits
from deepscope.data.download import Source, get
from deepscope.data.fetch import Patience
from deepscope.data.svhn import read_mat
from deepscope.data.usps import read_libsvm
from deepscope.session import Session
from fuzz.mutations import EXTREME, damaged
from fuzz.target import Mutation, Target, damage

_FILES = {f"set/{name}.bin": np.random.default_rng(number).bytes(3000) for number, name in enumerate("abc")}
_MOST = 1 << 20


def _build_digits(folder: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    images = bytes((0, 0, 8, 3)) + b"".join(side.to_bytes(4, "big") for side in pixels.shape) + pixels.tobytes()
    labels = bytes((0, 0, 8, 1)) + (20).to_bytes(4, "big") + bytes(number % 10 for number in range(20))
    (folder / "images.gz").write_bytes(gzip.compress(images, mtime=0))
    (folder / "labels.gz").write_bytes(gzip.compress(labels, mtime=0))
    (folder / "images").write_bytes(images)
    (folder / "labels").write_bytes(labels)


def _read_digits(folder: Path) -> Any:
    found = [read_digits(folder / f"images{end}", folder / f"labels{end}") for end in (".gz", "")]
    return [(digits.images, digits.labels) for digits in found]


def _sane_digits(answer: Any) -> str:
    for images, labels in answer:
        if images.shape != (len(labels), 28, 28) or (len(labels) and not 0 <= labels.min() <= labels.max() <= 9):
            return "digits that are none"
    return ""


def _build_other_digits(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = (" ".join(f"{at}:{value:.3f}" for at, value in enumerate(rng.uniform(-1, 1, 256), 1)) for _ in range(6))
    (folder / "usps.bz2").write_bytes(bz2.compress("\n".join(f"{n} {row}" for n, row in enumerate(rows, 5)).encode()))
    images, labels = rng.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8), np.array([[1], [5], [9], [10]], np.uint8)
    for name, packed in (("plain.mat", False), ("packed.mat", True)):
        savemat(folder / name, {"X": images, "y": labels}, do_compression=packed)


def _read_other_digits(folder: Path) -> Any:
    found = [read_libsvm(folder / "usps.bz2"), read_mat(folder / "plain.mat"), read_mat(folder / "packed.mat")]
    return [(digits.images, digits.labels) for digits in found]


def _sane_other_digits(answer: Any) -> str:
    return _sane_digits([(images if images.ndim == 3 else images[:, 0], labels) for images, labels in answer])


def _packed_lies(rng: Random, folder: Path) -> None:
    """What is packed is damaged, and the checksum agrees with it."""
    path = rng.choice(sorted(folder.glob("*.gz")))
    content = damaged(rng, gzip.decompress(path.read_bytes()))
    content += bytes(1 << 28) if rng.random() < 0.02 else b""
    path.write_bytes(gzip.compress(content, 1, mtime=0))


def _build_archive(kind: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "served").write_bytes(_packed(kind, _FILES))

    return build


def _packed(kind: str, files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(fileobj=memory, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return _compressed(kind, memory.getvalue())
    return memory.getvalue()


def _compressed(kind: str, content: bytes) -> bytes:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "tgz": lambda data: gzip.compress(data, 1, mtime=0),
        "txz": lambda data: lzma.compress(data, preset=0),
        "tbz": bz2.compress,
    }
    return packers[kind](content)


class _Handler(BaseHTTPRequestHandler):
    """Answers with the bytes of a file, and the head of another one where there is one."""

    folder = Path()

    def do_GET(self) -> None:
        body = (self.folder / "served").read_bytes() if (self.folder / "served").is_file() else b""
        head = self.folder / "head"
        if head.is_file():
            self.wfile.write(head.read_bytes() + body)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _read_archive(folder: Path) -> dict[str, bytes]:
    """The files in their place; nothing beside them but the digest, also where the archive is refused."""
    home = folder / "home"
    (home / "data").mkdir(parents=True, exist_ok=True)
    handler = type("Handler", (_Handler,), {"folder": folder})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/served"
            source = Source((url,), "set", _MOST, "", lambda name: name.removeprefix("set/"), len(_FILES))
            get(source, Session(home=home, quiet=True), patience=Patience(1, 0.5, 0.01))
        finally:
            server.shutdown()
            thread.join()
            allowed = {"served", "head", "home", "set", "set.sha256", "set.part", "set.part.version"}
            extra = {path.name for path in (*folder.iterdir(), *(home / "data").iterdir())} - allowed
            assert not extra, f"left beside the data: {sorted(extra)}"
    set_ = home / "data" / "set"
    return {path.relative_to(set_).as_posix(): path.read_bytes() for path in set_.rglob("*") if path.is_file()}


def _sane_files(files: dict[str, bytes]) -> str:
    return "" if len(files) == len(_FILES) else f"files that are not wanted: {sorted(files)}"


def _member_lies(kind: str) -> Callable[[Random, Path], None]:
    """Names, sizes and types in the archive's own headers say something else, under right checksums."""
    names = (
        "../x",
        "/tmp/x",
        "set/../../x",
        "set/a\x1b.bin",
        "set/" + "n" * 300,
        "",
        ".",
        "set",
        "set/c.bin",
        "\u202e",
    )

    def apply(rng: Random, folder: Path) -> None:
        files = dict(_FILES)
        key = rng.choice(sorted(files))
        change = rng.randrange(4)
        if change == 0:
            files[rng.choice(names)] = files.pop(key)
        elif change == 1:
            files[key] = bytes(1 << 27)
        if kind == "zip" or change < 2:
            content = _packed(kind, files)
        else:
            memory = io.BytesIO()
            with tarfile.open(
                fileobj=memory, mode="w", format=rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
            ) as archive:
                for name, data in files.items():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    if name == key:
                        entry.type = rng.choice(
                            (b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"x", b"g", b"L", b"K", b"S")
                        )
                        entry.linkname = rng.choice(("/etc/passwd", "../../x", "set/a.bin", "set"))
                    archive.addfile(entry, io.BytesIO(data))
            raw = bytearray(memory.getvalue())
            if change == 3:  # a size or a name of a header, with its checksum
                block = rng.choice([at for at in range(0, len(raw), 512) if raw[at + 257 : at + 262] == b"ustar"])
                field = rng.choice(((124, 12), (100, 8), (136, 12), (156, 1), (0, 8)))
                value = b"%o" % rng.choice(EXTREME)
                raw[block + field[0] : block + sum(field)] = value[: field[1]].ljust(field[1], b"\0")
                raw[block + 148 : block + 156] = b" " * 8
                raw[block + 148 : block + 156] = b"%06o\0 " % sum(raw[block : block + 512])
            content = _compressed(kind, bytes(raw))
        (folder / "served").write_bytes(content)

    return apply


def _head_lies(rng: Random, folder: Path) -> None:
    """The server's answer has another status, or other headers."""
    size = (folder / "served").stat().st_size
    lengths = (str(size), str(size + 1), str(size - 1), "\u00b2", "9" * 5000, "-1", "0", "x", "1e3")
    ranges = (
        f"bytes 0-{size - 1}/{size}",
        "bytes 5-1/2",
        "bytes " + "0" * 5000 + "-1/2",
        "bytes */*",
        f"bytes 0-1/{2**70}",
    )
    lines = [
        f"HTTP/1.1 {rng.choice((200, 200, 206, 204, 301, 404, 416, 500, 999))} {rng.choice(('OK', chr(27) + ']0;x'))}"
    ]
    lines += [f"Content-Length: {rng.choice(lengths)}"] * rng.choice((0, 1, 1, 2))
    lines += [f"Content-Range: {rng.choice(ranges)}"] * rng.choice((0, 1))
    lines += [f"ETag: {rng.choice(('x', chr(34) + 'v1' + chr(34), 'x' * 70000))}"] * rng.choice((0, 1))
    lines += [f"Location: {rng.choice(('file:///etc/passwd', '/served', 'ftp://x', 'http://[', chr(0)))}"] * rng.choice(
        (0, 1)
    )
    text = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    (folder / "head").write_bytes(damaged(rng, text) if rng.random() < 0.2 else text)


def _leftovers(rng: Random, folder: Path) -> None:
    """Files of an earlier download, of another program, or of nobody."""
    data = folder / "home" / "data"
    data.mkdir(parents=True)
    names = ("set.part", "set.part.version", "set.sha256")
    contents = (
        b"",
        b"x",
        b"\xff\xfe\n\r\0",
        b'"a"\r\nX-Other: 1',
        b"0" * 64 + b"  url\n",
        (folder / "served").read_bytes()[:99],
    )
    for name in rng.sample(names, rng.choice((1, 2, 3))):
        (data / name).write_bytes(rng.choice(contents))


def _archive(kind: str) -> Target:
    mutations = (
        damage("served"),
        Mutation("members that lie", _member_lies(kind), same=False),
        Mutation("an answer that lies", _head_lies),
        Mutation("leftovers", _leftovers),
    )
    return Target(
        f"archive-{kind}", _build_archive(kind), _read_archive, mutations, _sane_files, memory=128, inputs=100
    )


TARGETS = [
    Target(
        "digits",
        _build_digits,
        _read_digits,
        (
            damage("*.gz"),
            damage("images", "labels", same=False),
            Mutation("lies below the packing", _packed_lies, same=False),
        ),
        _sane_digits,
        memory=128,
        inputs=400,
    ),
    Target(
        "other-digits",
        _build_other_digits,
        _read_other_digits,
        (damage("*.bz2", "*.mat", same=False),),
        _sane_other_digits,
        memory=256,
        inputs=100,
    ),
    *map(_archive, ("zip", "tgz", "txz", "tbz")),
]
