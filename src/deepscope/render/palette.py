"""The colours of figures and of the pages around them, in one place.

`plots` draws with the first ones; `css` hands the others to the style sheets of the pages, and the explorer those of
its map to its script. No other file says what a colour is.
"""

from __future__ import annotations

INK, MUTED = "#1b1f24", "#59636e"
"""Text, and text of lower rank: at least 6 to 1 on white."""
GREY, FAINT, MISSING = "#9aa4af", "#e3e6ea", "#c4c9cf"
"""Axes, grid lines, and values that are not a number: in none of the colour maps."""
ACCENT, MARK, MARK_TEXT = "#0072b2", "#d55e00", "#b3460a"
"""Okabe and Ito's blue, and their vermilion for what stands out: people with any colour vision tell them apart, also
in grey. Text of the second takes a darker shade, for contrast."""
SERIES = (ACCENT, MARK, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7a3b00")
"""Okabe and Ito's colours and a brown. With simulated deuteranopia or protanopia any two are at least 17 apart in
CIELAB, where 2 can be seen."""
SEQUENTIAL, MATRIX, DIVERGING = "magma", "Blues", "RdBu_r"
"""Colour maps, by their names in matplotlib: of maps over images, of matrices, and of values with a sign."""

CLASSES = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a300", "#8c6bb1"),
    *("#7f7f7f", "#17a2a2", "#b06035", "#6a994e", "#5b74c9", "#e377c2", "#3d8a66", "#b19cd9"),
)
"""Of the points of a map of images, which lie on a light or a dark ground: Okabe and Ito's, then paler ones."""
POINTS = {"right": "#56b4e9", "wrong": MARK, "test": ACCENT, "train": "#e69f00", "other": GREY}
"""Of the same points, where they are not coloured by class."""

PAGE = {
    "ground": ("#ffffff", "#14171a"),
    "back": ("#f6f7f9", "#101316"),
    "panel": ("#ffffff", "#1a1e22"),
    "soft": ("#f4f6f8", "#1d2125"),
    "marked": ("#e8f2fa", "#15304a"),
    "ink": (INK, "#e4e7ea"),
    "muted": (MUTED, "#9aa4ae"),
    "rule": ("#d5dae0", "#343b42"),
    "shadow": ("rgb(0 0 0 / 30%)", "rgb(255 255 255 / 35%)"),
    "link": ("#0060a0", "#6cb6f0"),
    "on-link": ("#ffffff", "#10161c"),
    "warning": ("#9a4a00", "#f0a860"),
    "good": ("#17652f", "#7fd69a"),
    "good-ground": ("#e2f4e7", "#16351f"),
    "attention": ("#8a4500", "#f3b170"),
    "attention-ground": ("#fdeedd", "#3d2710"),
    "plain": ("#3f4a56", "#b8c2cc"),
    "plain-ground": ("#e9edf1", "#2a3036"),
    "wrong": (MARK_TEXT, "#f3a070"),
    "bar": (ACCENT, "#4ea3dc"),
    "bar-true": ("#1a7f4b", "#5fc28d"),
    "bar-pale": ("#8bb8d8", "#3f6f92"),
    "cell": ("#0060a0", "#2f7fb8"),
    "cell-off": (MARK, "#d9702a"),
}
"""Of a page, in the light and in the dark; `on-link` is text on a ground of `link`."""
_EITHER = {
    "paper": "#ffffff",
    "outline": "#000000",
    "flag": "#e69f00",
    "veil": "rgb(0 0 0 / 72%)",
    "dimmed": "rgb(10 14 18 / 45%)",
}
"""Of a page whether it is light or dark: under a figure, around what lies on a photograph, and over one."""
_PRINTED = {
    **dict.fromkeys(("ground", "back", "panel"), "#ffffff"),
    "ink": "#000000",
    "muted": "#444444",
    "rule": "#bbbbbb",
    "marked": "#eeeeee",
}


def css() -> str:
    """The colours of a page as custom properties, by their names here."""
    page = {name: f"light-dark({light}, {dark})" for name, (light, dark) in PAGE.items()}
    return f"{_rule(page | _EITHER)}@media print {{ {_rule(_PRINTED)}}}\n"


def _rule(colours: dict[str, str]) -> str:
    return f".deepscope {{ {' '.join(f'--{name}: {colour};' for name, colour in colours.items())} }}\n"
