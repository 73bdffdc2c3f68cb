"""The colours of figures and of the pages around them, in one place.

`plots` draws with them, and `css` hands them to the style sheet of the pages.
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


def css() -> str:
    """The colours as custom properties: `--figure-ink`, `--figure-series-1` and so on."""
    named = {"ink": INK, "muted": MUTED, "grey": GREY, "faint": FAINT, "accent": ACCENT, "mark": MARK}
    named |= {f"series-{place}": colour for place, colour in enumerate(SERIES, start=1)}
    return f".deepscope {{ {' '.join(f'--figure-{name}: {colour};' for name, colour in named.items())} }}\n"
