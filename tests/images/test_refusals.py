"""Bad files are refused in one line, and Pillow's state stays as it is."""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from deepscope import images
from deepscope.images import Limits, UnreadableImage
from deepscope.images.silence import WhileDecoding, silent_pillow
from image_files import (
    SMALL,
    blocks,
    corpus,
    encoded,
    pixels,
    reason,
)


def test_what_is_no_readable_file_is_refused_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>404</html>")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.png"))
        for name, said in {
            "pipe.png": "not a file",
            "s.png": "not a file",
            "broken.png": "a link to a file that does not exist",
            "circle.png": "cannot be read",
            "missing.png": "no such file",
            "empty.png": "empty",
            "text.png": "not an image",
            ".": "a folder",
            "x" * 300 + ".png": "cannot be read",
            "null\0byte.png": "cannot be read",
        }.items():
            assert said in reason(tmp_path / name), name
    assert "not a file" in reason("/dev/zero")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(corpus()["png"])
    (tmp_path / "secret.png").chmod(0)
    assert "Permission denied" in reason(tmp_path / "secret.png")


def test_a_file_that_the_system_refuses_to_open_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.png").write_bytes(corpus()["png"])

    def deny(path: str, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", deny)
    assert reason(tmp_path / "secret.png") == "it cannot be read: Permission denied"


def test_limits_of_bytes_pixels_and_aspect(tmp_path: Path) -> None:
    data = corpus()["png"]
    (tmp_path / "a.png").write_bytes(data)
    exact = Limits(bytes=len(data), pixels=48 * 64)
    for source in (tmp_path / "a.png", data):
        images.decode(source, limits=exact)
        assert "bytes, the limit" in reason(source, Limits(bytes=len(data) - 1))
        assert "64 x 48 pixels" in reason(source, Limits(pixels=48 * 64 - 1))
    assert "64 x 48 pixels" in reason(blocks(), Limits(pixels=100))
    assert "a strip of 201 x 1" in reason(np.zeros((1, 201), np.uint8))
    images.decode(np.zeros((1, 200), np.uint8))
    assert "no pixels" in reason(np.zeros((0, 5), np.uint8))


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_decompression_bomb_is_refused_in_no_memory(side: int) -> None:
    """12000 x 12000 is where Pillow only warns, 60000 x 60000 where it raises."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = corpus()["png"][:8] + struct.pack(">I", 13) + b"IHDR" + header + crc + corpus()["png"][33:]
    assert any(word in reason(bomb, Limits(pixels=10**8)) for word in ("over the limit", "too large"))


def test_wrong_arrays_and_wrong_types_are_refused() -> None:
    wrong: list[object] = [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.float32),
        np.zeros(4, np.uint8),
        None,
        3,
        [],
    ]
    for source in wrong:
        assert reason(source)  # type: ignore[arg-type]


def test_heic_and_postscript_are_refused_by_name() -> None:
    assert "convert it" in reason(b"\0\0\0\x18ftypheic" + b"\0" * 32)
    assert "not an image" in reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # would run Ghostscript


def test_a_hostile_file_name_stays_on_one_line_and_out_of_the_terminal(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/a\x1b[31m\nb\xff.png")
    with pytest.raises(UnreadableImage) as caught:
        images.decode(path)
    assert str(caught.value).isprintable()
    str(caught.value).encode()


@pytest.mark.parametrize("key", corpus())
def test_truncation_anywhere_is_refused_or_costs_no_pixel(key: str) -> None:
    data = corpus()[key]
    whole = pixels(data)
    refused = 0
    for end in range(0, len(data), max(1, len(data) // 40)):
        try:
            kept = np.asarray(images.decode(data[:end], limits=SMALL))
        except UnreadableImage:
            refused += 1
        else:
            assert (kept == whole).all()  # only what follows the pixels was cut off
    assert refused >= 35


def large_png() -> bytes:
    """12000 x 8000 of one colour: over Pillow's threshold of a warning, under its limit. One bit a pixel."""
    return encoded(Image.new("1", (12_000, 8_000)), "PNG")


def test_no_warning_of_pillow_escapes_and_no_filter_of_the_caller_changes() -> None:
    data = large_png()
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    translucent = encoded(Image.fromarray(blocks()).quantize(), "PNG", transparency=bytes(range(256)))
    with pytest.warns(UserWarning, match="Transparency"):
        Image.open(io.BytesIO(translucent)).convert("RGB")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert "over the limit" in reason(data)
        threads = [threading.Thread(target=images.decode, args=(translucent,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == []
        Image.open(io.BytesIO(data))  # the caller's own use of Pillow still warns
        assert [warning.category for warning in seen] == [Image.DecompressionBombWarning]
    before = len(warnings.filters)
    for _ in range(5):
        warnings.filterwarnings("error", message="never said")
        images.decode(corpus()["png"])
    assert len(warnings.filters) <= before + 2  # our own filter is not piled up
    (ours,) = (entry for entry in warnings.filters if entry[2] is WhileDecoding)
    assert isinstance(ours[3], re.Pattern), "an ordinary filter, which others may copy"


def test_other_threads_warn_while_one_decodes() -> None:
    with warnings.catch_warnings(record=True) as seen, silent_pillow():
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", category=WhileDecoding, module=r"PIL\.")
        Image.open(io.BytesIO(large_png()))
        warnings.warn("not Pillow's", stacklevel=1)
        other = threading.Thread(target=lambda: Image.open(io.BytesIO(large_png())))
        other.start()
        other.join()
    assert [warning.category for warning in seen] == [UserWarning, Image.DecompressionBombWarning]


def test_pillows_globals_stay_as_they_are() -> None:
    def state() -> tuple[object, ...]:
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, Image.WARN_POSSIBLE_FORMATS

    before = state()
    for data in corpus().values():
        images.decode(data, at_least=4)
    assert state() == before
