"""The results in README.md and docs/experiments are those that are kept, and nothing in them is written by hand."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from deepscope import render
from deepscope.results import Animation, Curves, ImageGrid, Picture, Provenance, Result, Series
from deepscope.studies import Answer, answers

CHECKOUT = Path(__file__).parent.parent
KEPT = CHECKOUT / "docs" / "experiments" / "kept"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(CHECKOUT / "tools")
        return importlib.import_module("keep_study")


def test_the_readme_and_the_chapters_are_what_the_kept_results_give(tool: ModuleType) -> None:
    found = tool.kept(KEPT)
    assert found
    for path, text in tool.written(found, CHECKOUT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python tools/keep_study.py"


def test_what_is_kept_is_small_and_whole() -> None:
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10 * 2**20
    pages = "".join(path.read_text(encoding="utf-8") for path in KEPT.parent.glob("*.md"))
    for path in KEPT.glob("*/result.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["type"] == "Result"
        assert f"kept/{path.parent.name}/result.json" in pages
        assert " --out" not in json.loads(path.read_text(encoding="utf-8"))["provenance"]["command"]


def test_the_readme_has_eight_headlines_and_no_unpublished_value(tool: ModuleType) -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    measured = readme.partition(tool.BEGIN)[2].partition(tool.END)[0]
    assert measured.count("docs/experiments/") == 8
    assert "TODO" not in readme
    assert len(readme.splitlines()) <= 120


def test_a_report_is_reduced_and_written_out(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    result = Result(
        "What | it is",
        blocks=(
            ImageGrid(((Picture(big),),), title="One | figure"),
            Animation(np.stack([big[:300, :300]] * 3), title="Film"),
            answers(
                [
                    Answer("1. Why | not?", "0.9", "0.91", "reproduced", "because"),
                    Answer("2. And?", "-", "0.2", "answered"),
                    Answer("3. Seen?", "some, by eye", "0.3", "answered"),
                    Answer("beyond: more", "0.98 (another)", "0.99", "answered"),
                    Answer("4. Where?", "-", "-", "not measured here"),
                ]
            ),
        ),
        provenance=Provenance(command="deepscope study architecture", device="cpu", precision="float32", seconds=3),
    )
    folder = tmp_path / "report" / "studies" / "architecture"
    render.save(result, folder)
    stale = tmp_path / "study" / "architecture" / "09-old.webp"
    stale.parent.mkdir(parents=True)
    stale.touch()
    tool.keep(tmp_path / "report", tmp_path / "study")
    (one,) = tool.kept(tmp_path / "study")
    assert one.figures == ("01-one-figure.webp", "02-film.webp")
    original = sum(path.stat().st_size for path in folder.glob("*.png"))
    assert sum(path.stat().st_size for path in (tmp_path / "study").rglob("*.webp")) < original / 4
    assert not {"folder", "sha256"} & one.result.keys()
    with monkeypatch.context() as patch:
        patch.setattr(tool, "_HEADLINES", (("architecture", "1. Why | not?"), ("architecture", "2. And?")))
        table = tool.headlines([one])
    assert "| 1.1 | 1. Why \\| not? | 0.9 | 0.91 | reproduced | [architecture](docs/experiments/1-1-" in table
    assert "| 1.1 | 2. And? | left open | 0.2 | answered |" in table and "3. Seen?" not in table
    assert "Of 5 questions: 1 reproduced, 0 differs, 3 answered, 1 not measured here." in table
    with pytest.raises(ValueError, match=r"no kept answer to .*total parameters"):
        tool.headlines([one])
    text = tool.chapter([one])
    for part in (
        "2. And?",
        "![One \\| figure](kept/architecture/01-one-figure.webp)\n\n**One \\| figure.**\n",
        "`deepscope study architecture` (seed 0",
    ):
        assert part in text
    readme = f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter"
    written = tool.with_measured(readme, table)
    assert written.startswith("before\n") and written.endswith("\nafter") and "old" not in written
    assert tool.with_measured(written, table) == written
    with pytest.raises(ValueError, match="lacks the lines"):
        tool.with_measured("nothing", table)


def test_captions_are_text_and_numbers_have_the_digits_of_their_intervals(tool: ModuleType) -> None:
    (one,) = (found for found in tool.kept(KEPT) if found.name == "generation")
    page = tool.chapter([one])
    assert "![D(x)](kept/generation/06-d-x.curves.webp)\n\n**D(x).** Mean probability that the discriminator" in page
    assert all(kept.caption_of(figure) for kept in tool.kept(KEPT) for figure in kept.figures)
    (maps,) = (found for found in tool.kept(KEPT) if found.name == "activation-maps")
    captions = [maps.caption_of(figure) for figure in maps.figures]
    assert len(captions) > 1 and len(set(captions)) == 1 and tool.chapter([maps]).count(captions[0]) == 1
    words = importlib.import_module("kept_words")
    assert words.supported("FID 23.940 [-27.441, 75.322] and 58 % [53, 63]") == "FID 24 [-27, 75] and 58 % [53, 63]"
    assert (
        words.supported("0.002 [-0.002, 0.006]; -0.14 [-0.19, -0.09]") == "0.002 [-0.002, 0.006]; -0.14 [-0.19, -0.09]"
    )
    assert words.supported("+0.0712 [-0.0101, +0.1520]") == "+0.07 [-0.01, +0.15]"
    assert words.supported("147.414 [142.886, 151.942] of 3") == "147 [143, 152] of 3"


def test_a_tall_picture_is_cut_between_two_rows_and_not_above_a_label(tool: ModuleType) -> None:
    figures = importlib.import_module("kept_figures")
    pixels = np.full((420, 100, 3), 255, np.uint8)
    for top in range(10, 400, 40):
        pixels[top : top + 24], pixels[top + 27 : top + 30, 40:60] = 90, 40  # a picture, and its label below a thin gap
    tall = Image.fromarray(pixels)
    cut = figures.beginning(tall, 1.0)
    assert cut.height == 80 + 6, "behind the second label, before the third picture"
    assert figures.beginning(tall, 5.0) is tall


def test_curves_are_drawn_again_from_their_kept_numbers(tool: ModuleType, tmp_path: Path) -> None:
    rng, steps = np.random.default_rng(0), np.arange(500.0)
    losses = tuple(Series(name, steps, rng.normal(size=500), low=steps - 1, high=steps) for name in "abc")
    shown = Curves(losses, "step", "loss", title="Loss", x_scale="linear", references=(("published", 0.5),))
    picture = ImageGrid(((Picture(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)),),), title="A picture")
    render.save(Result("One", blocks=(picture, shown)), tmp_path / "report" / "studies" / "generation")
    tool.keep(tmp_path / "report", tmp_path / "kept")
    kept = tmp_path / "kept" / "generation"
    before = {path.name: path.read_bytes() for path in kept.glob("*.webp")}
    assert (kept / "curves.npz").stat().st_size < 200_000
    (kept / "02-loss.curves.webp").write_bytes(b"of an old style")
    assert tool.redraw(tmp_path / "kept") == [kept / "02-loss.curves.webp"]
    assert {path.name: path.read_bytes() for path in kept.glob("*.webp")} == before


def test_the_full_runs_of_the_report_s_page_are_the_kept_results(tool: ModuleType) -> None:
    for one in tool.kept(KEPT):
        path = tool.SHIPPED / f"{one.name}.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        picture = {name: found[name] for name in ("shows", "caption", "chart")}
        assert found == {**tool.shipped(one), **picture}, f"{path}: run python tools/keep_study.py"
        assert not one.figures or found["shows"] in map(one.title_of, one.figures)
        assert found["shows"] and path.with_suffix(".webp").is_file()
