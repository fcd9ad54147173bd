"""The figure: seconds of ours and of the peers, as bars.

In: the tables of the jobs in a folder. Out: `speed.svg` and `speed.png` in the same folder, which this module owns.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rows import OURS, WHOLE, Row, read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {
    "probe": "Photos to a scored probe on EfficientNet-Lite2, 260 px",
    "notebook": "The notebook's six models, 10 epochs each",
}
LABELS = {
    OURS: "bestiary",
    WHOLE: "bestiary, with\nreport and export",
    "careful": "torch + scikit-learn",
    "careful-bf16": "torch in bf16\n+ scikit-learn",
    "fastai": "fastai, one epoch",
    "keras": "Keras 3, TensorFlow",
}
_OURS_COLOUR, _PEER_COLOUR = "#1f6f8b", "#b9bec4"
_WIDTH_IN, _ROW_IN, _HEAD_IN, _DPI = 8.0, 0.55, 0.8, 100


def draw(folder: Path) -> list[Path]:
    """Draw every job whose table lies in `folder`; returns the paths written, none where there is nothing to draw."""
    tables = {job: read_rows(folder / f"{job}.csv") for job in TITLES if (folder / f"{job}.csv").is_file()}
    bars = {job: [row for row in rows if row.status == "done" and row.seconds] for job, rows in tables.items()}
    bars = {job: rows for job, rows in bars.items() if rows}
    if not bars:
        return []
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    heights = [_HEAD_IN + _ROW_IN * len(rows) for rows in bars.values()]
    with plt.rc_context(
        {"font.size": 12, "svg.hashsalt": "speed", "figure.facecolor": "white", "axes.facecolor": "white"}
    ):
        figure, axes = plt.subplots(
            len(bars),
            1,
            figsize=(_WIDTH_IN, sum(heights)),
            height_ratios=heights,
            squeeze=False,
            layout=ConstrainedLayoutEngine(h_pad=0.15),
        )
        for axis, (job, rows) in zip(axes[:, 0], bars.items(), strict=True):
            _panel(axis, TITLES[job], rows)
        axes[-1, 0].set_xlabel("seconds (shorter is better)")
        paths = [folder / "speed.svg", folder / "speed.png"]
        for path in paths:
            figure.savefig(path, dpi=_DPI, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)
    return paths


def _panel(axis: "Axes", title: str, rows: list[Row]) -> None:
    seconds = [row.seconds or 0.0 for row in rows]
    colours = [_OURS_COLOUR if row.name in (OURS, WHOLE) else _PEER_COLOUR for row in rows]
    axis.barh(range(len(rows)), seconds, color=colours, height=0.62)
    for at, row in enumerate(rows):
        axis.annotate(bar_text(row), (seconds[at], at), xytext=(6, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(rows)), [LABELS.get(row.name, row.name) for row in rows])
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.set_xlim(0, max(seconds) * 1.6)
    axis.set_title(title, loc="left", fontsize=13, fontweight="bold")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def bar_text(row: Row) -> str:
    """What stands at a bar's end: seconds, how many times ours, and whether part of it was worked out."""
    seconds = row.seconds or 0.0
    parts = [f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.1f} s"]
    if row.times_ours is not None and row.name not in (OURS, WHOLE):
        parts.append(f"{row.times_ours:.1f} × ours")
    if row.note.startswith("extrapolated"):
        parts.append("extrapolated")
    return ", ".join(parts)
