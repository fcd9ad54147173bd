"""The look of the figures: colours, letters, labels.

In: names. Out: settings for matplotlib. Owns no file. Every colour is one of those in `CSS_VARIABLES`, so that
`svg` can replace it by a CSS variable and the figure follows the reader's light or dark theme.
"""

import functools
import logging
import unicodedata
from typing import Any

INK = "#1f242b"
MUTED = "#5c6672"
GRID = "#dfe3e8"
SURFACE = "#fdfdfe"
BAR = "#3a78ad"
REST = "#a9b4c0"

# Okabe and Ito's palette ("Color Universal Design", 2008) without its yellow, which is lost on white; the last is grey.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6f6f78")
# Beyond seven models a colour comes again, with another marker.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SURFACE: "--surface",
    BAR: "--bar",
    REST: "--rest",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)},
}

# Fonts with scripts that DejaVu Sans lacks, on Linux, macOS and Windows.
_WIDE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
    "Segoe UI",
)


@functools.cache
def _families() -> list[str]:
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _WIDE_FONTS if name in installed)]


def rc_settings() -> Any:
    """Matplotlib settings for one figure; to be held by `rc_context` while it is made and while it is saved."""
    # Narrow variants of a family are asked for and not found on many machines; the figure is none the worse.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    return {
        "font.family": _families(),
        "font.size": 9,
        "text.parse_math": False,  # a class may be called "$5 & up"
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.labelsize": 8.5,
        "axes.edgecolor": REST,
        "axes.facecolor": SURFACE,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": REST,
        "ytick.color": REST,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 9,
        "figure.facecolor": SURFACE,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.7,
        "svg.fonttype": "none",
    }


def series(number: int) -> tuple[str, str]:
    """Colour and marker of the model at this place in the study; no two of the first 49 share both."""
    turn = number // len(SERIES)
    return SERIES[number % len(SERIES)], MARKERS[(number + turn) % len(MARKERS)]


def label(name: str, most: int = 28) -> str:
    """A name as a figure shows it: no control characters, shortened in the middle, never empty."""
    text = "".join("\ufffd" if _unfit(character) else character for character in name).strip()
    if len(text) > most:
        text = f"{text[: (most - 1) * 2 // 3]}\u2026{text[-((most - 1) // 3) :]}"
    return text or "(no name)"


def _unfit(character: str) -> bool:
    """Whether a character has no place in a figure: it is no valid XML, or it would reorder the text around it."""
    turns_text = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return turns_text or unicodedata.category(character) in ("Cc", "Cs", "Cn")
