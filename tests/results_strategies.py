"""Results of every kind for the renderers: a realistic example of each block, and hypothesis' worst."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from deepscope.gallery import Adversarial, Entry, Gallery, Measured, Near, Projection
from deepscope.results import (
    Animation,
    Bars,
    Block,
    Column,
    Curves,
    Heatmap,
    ImageGrid,
    Note,
    Picture,
    Provenance,
    Result,
    Series,
    Table,
)

_NASTY = ["<script>alert(1)</script>", "$\\frac{", "a$b$", "\x1b[31m", "\ud800", "\x00", "\u202e", "[bold]", "&amp;"]
_NASTY += ["NaN", "\\NaN", "-Infinity", "שלום", "漢字", "\n\n", "é" * 300, '"><img src=x onerror=alert(1)>']


def _joined(text: str) -> str:
    """Two surrogate halves in a row become the character that they spell: JSON cannot tell them apart."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if text else text


def _safe(text: str) -> str:
    try:
        return _joined(text)
    except UnicodeDecodeError:
        return text.encode("utf-8", "replace").decode()


texts = st.sampled_from(_NASTY) | st.text(st.characters(), max_size=12).map(_safe)
numbers = st.floats(allow_nan=True, allow_infinity=True)
maybe_numbers = st.none() | numbers


def pixels(largest: int = 9) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.uint8, st.tuples(st.integers(1, largest), st.integers(1, largest), st.just(3)))


def vectors(length: int) -> st.SearchStrategy[Any]:
    return hnp.arrays(st.sampled_from([np.float64, np.float32, np.int64]), length)


def _webp() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), "orange").save(file, "WEBP")
    return file.getvalue()


WEBP = _webp()
names = st.lists(texts, max_size=4).map(tuple)
pictures = st.builds(
    Picture, pixels(), texts, st.just(((1.0, 2.0),)) | st.just(()), st.just(((0.0, 0.0, 3.0, 4.0),)) | st.just(())
)


@st.composite
def bars(draw: st.DrawFn) -> Bars:
    labels = draw(names)
    values = tuple(draw(numbers) for _ in labels)
    return Bars(labels, values, draw(texts), draw(st.none() | st.integers(-1, 5)), draw(numbers))


heatmaps = st.builds(
    Heatmap,
    hnp.arrays(st.sampled_from([np.float64, np.float32, np.int32, np.bool_]), hnp.array_shapes(min_dims=2, max_dims=2)),
    texts,
    texts,
    st.none() | pixels(),
    st.booleans(),
    maybe_numbers,
    maybe_numbers,
    names,
    names,
    texts,
    texts,
)
grids = st.builds(
    ImageGrid,
    st.lists(st.lists(pictures | bars() | heatmaps, max_size=3).map(tuple), max_size=3).map(tuple),
    texts,
    texts,
    names,
)


styles: st.SearchStrategy[Literal["line", "points", "steps"]] = st.sampled_from(["line", "points", "steps"])


@st.composite
def series(draw: st.DrawFn) -> Series:
    length = draw(st.integers(0, 6))
    low, high = (draw(st.none() | vectors(length)) for _ in range(2))
    return Series(draw(texts), draw(vectors(length)), draw(vectors(length)), low, high, draw(styles))


scales = st.sampled_from(["linear", "log"])
curves = st.builds(
    Curves,
    st.lists(series(), max_size=3).map(tuple),
    texts,
    texts,
    texts,
    texts,
    scales,
    scales,
    st.lists(st.tuples(texts, numbers), max_size=2).map(tuple),
)


@st.composite
def animations(draw: st.DrawFn) -> Animation:
    shape = [draw(st.integers(low, 5)) for low in (0, 1, 1)]
    frames = draw(hnp.arrays(np.uint8, (*shape, 3)))
    captions = tuple(draw(texts) for _ in frames) if draw(st.booleans()) else ()
    return Animation(frames, draw(texts), draw(texts), draw(numbers), captions)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    specs = st.sampled_from(["", ".1%", ",", ".3g", "d", "nonsense", ".999999999f", ">99999999999"])
    columns = tuple(draw(st.lists(st.builds(Column, texts, specs), max_size=4)))
    cell = texts | st.integers() | numbers | st.booleans() | st.none()
    rows = tuple(tuple(draw(cell) for _ in columns) for _ in range(draw(st.integers(0, 3))))
    return Table(columns, rows, draw(texts), draw(texts), draw(st.none() | st.integers(-1, 4)))


encoded = st.sampled_from([b"", b"no picture", WEBP]).map(lambda content: np.frombuffer(content, np.uint8))
entries = st.builds(
    Entry,
    key=texts,
    name=texts,
    file=texts,
    picture=encoded,
    split=texts,
    truth=texts,
    predicted=texts,
    right=st.none() | st.booleans(),
    top=st.lists(st.tuples(texts, numbers), max_size=2).map(tuple),
    values=st.dictionaries(texts, numbers, max_size=2),
    flags=st.dictionaries(texts, texts, max_size=2),
    maps=st.dictionaries(texts, encoded, max_size=2),
    adversarial=st.none() | st.builds(Adversarial, encoded, encoded, st.integers(), texts, numbers, texts),
    near=st.lists(st.builds(Near, texts, numbers), max_size=2).map(tuple),
    place=st.just(()) | st.tuples(numbers, numbers),
)
galleries = st.builds(
    Gallery,
    st.lists(entries, max_size=3).map(tuple),
    st.lists(st.builds(Measured, texts, texts, texts, st.sampled_from(["share", "number"]), st.integers(), texts)).map(
        tuple
    ),
    texts,
    texts,
    st.none() | st.builds(Projection, texts, numbers, st.integers()),
)
notes = st.builds(Note, texts, texts, st.sampled_from(["info", "warning", "verdict"]))
blocks = {
    Table: tables(),
    ImageGrid: grids,
    Heatmap: heatmaps,
    Curves: curves,
    Animation: animations(),
    Note: notes,
    Gallery: galleries,
}
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
results = st.builds(
    Result,
    texts,
    st.dictionaries(texts, plain, max_size=3),
    st.dictionaries(texts, numbers, max_size=3),
    st.lists(st.one_of(*blocks.values()), max_size=3).map(tuple),
    st.dictionaries(texts, hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3)), max_size=2),
    st.builds(Provenance, texts, st.dictionaries(texts, texts), st.dictionaries(texts, texts), texts, st.integers()),
)

_RNG = np.random.default_rng(0)
_PHOTO = _RNG.integers(0, 256, (64, 48, 3), np.uint8)
EXAMPLES: dict[type, Block] = {
    Table: Table(
        (Column("model"), Column("top-1", ".1%")),
        (("squeezenet1_0", 0.65), ("vgg16", None), ("efficientnet_lite0", 0.883)),
        title="Accuracy",
        caption="100 photographs",
        mark=2,
    ),
    ImageGrid: ImageGrid(
        (
            (
                Picture(_PHOTO, "a bee eater"),
                Bars(("bee eater", "kite"), (0.9, 0.1), mark=0),
                Heatmap(_RNG.random((7, 7))),
            ),
        ),
        title="Top 2",
        columns=("input", "probability", "map"),
    ),
    Heatmap: Heatmap(_RNG.normal(size=(14, 14)), title="Attribution", over=_PHOTO, signed=True),
    Curves: Curves(
        (Series("DANN", np.arange(5), np.linspace(0.5, 0.8, 5)), Series("none", np.arange(5), np.full(5, 0.5))),
        "epoch",
        "accuracy",
        title="Adaptation",
        references=(("published", 0.81),),
    ),
    Animation: Animation(
        np.stack([_PHOTO, _PHOTO // 2, _PHOTO // 4]), title="Ascent", captions=("one", "two", "three")
    ),
    Gallery: Gallery(
        (
            Entry("a", "a.png", picture=np.frombuffer(WEBP, np.uint8), truth="cat", predicted="dog", right=False),
            Entry("b", "b.png", values={"loss": math.inf}),
        ),
        (Measured("loss", "loss"),),
        "The images",
    ),
    Note: Note("11 duplicates cross train and test.", title="Leak", level="warning"),
}
EVERYTHING = Result(
    "Everything",
    config={"top": 5},
    metrics={"accuracy": 0.65, "accuracy/low": 0.55, "accuracy/high": 0.74},
    blocks=tuple(EXAMPLES.values()),
    arrays={"maps": _RNG.random((2, 3))},
    provenance=Provenance(
        command="deepscope classify photos", models={"squeezenet1_0": "ab"}, device="cpu", seconds=3.2
    ),
)


def members(union: str) -> set[type]:
    """The classes of one of the closed sets in `deepscope.results`."""
    hint = get_type_hints({"Block": Result, "GridCell": ImageGrid}[union])[
        {"Block": "blocks", "GridCell": "rows"}[union]
    ]
    while get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    return set(get_args(hint))


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the bit: also NaN to NaN, and arrays with their dtype."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes()
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b
