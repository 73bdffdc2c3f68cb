"""The image files below what a person named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepscope import images
from deepscope.images import Skipped


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.png",
        "a.JPG",
        "notes.txt",
        ".hidden.png",
        "sub/z.webp",
        "sub/deep/c.tiff",
        ".git/x.png",
        "m/phone.heic",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_folders_expand_in_order_and_only_to_images(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree)  # round and round
    found = images.find([tree])
    expected = ["a.JPG", "b.png", "m/phone.heic", "sub/z.webp", "sub/deep/c.tiff"]
    assert [path.relative_to(tree).as_posix() for path in found.paths] == expected
    assert found.skipped == ()


def test_a_named_file_is_taken_whatever_its_suffix_and_once(tree: Path) -> None:
    found = images.find([tree / "notes.txt", str(tree / "b.png"), tree / "sub", tree / "sub" / ".." / "b.png"])
    assert [path.name for path in found.paths] == ["notes.txt", "b.png", "z.webp", "c.tiff"]


def test_missing_paths_and_empty_folders_are_listed(tree: Path) -> None:
    (tree / "empty").mkdir()
    (tree / "link").symlink_to(tree / "nowhere")
    named = [tree / "missing.png", tree / "empty", tree / "link", tree / "b.png", "nul\0l"]
    found = images.find(named)
    assert found.paths == (tree / "b.png",)
    assert [item.reason for item in found.skipped][:3] == [
        "there is no such file or folder",
        "the folder holds no image files",
        "it is a link to a file that does not exist",
    ]
    assert [item.path for item in found.skipped][:3] == [str(path) for path in named[:3]]
    assert len(found.skipped) == 4


def test_a_folder_that_cannot_be_listed_is_said_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: str) -> Iterator[os.DirEntry[str]]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", deny)
    assert images.find([tree]).skipped == (Skipped(str(tree), "it cannot be read: Permission denied"),)


def test_a_link_to_a_folder_beside_it_is_passed_over_and_others_are_followed(tree: Path, tmp_path: Path) -> None:
    (tree / "a_first").symlink_to("sub/deep")
    (tree / "z_last").symlink_to("sub")
    (tree / "hidden").symlink_to(".git")  # not found otherwise
    (tree / "m" / "elsewhere").symlink_to(tree / "sub" / "deep")
    found = images.find([tree])
    expected = ["a.JPG", "b.png", "hidden/x.png", "m/phone.heic", "m/elsewhere/c.tiff", "sub/z.webp"]
    assert [path.relative_to(tree).as_posix() for path in found.paths] == expected
