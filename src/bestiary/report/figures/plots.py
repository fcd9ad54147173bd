"""Figures of a study: tables → matplotlib Figures. Each takes what a `Study` returns, as it is.

In: `study.index_table`, `study.histories()`, `study.predictions(model)`, `study.comparison`. Out: `matplotlib` figures
on white, to be shown in a notebook or turned to SVG for the report. Owns no file; touches neither pyplot nor its global
state.

`width_in` is the width on paper; below five inches panels stand one above the other. Every figure raises `UsageError`
where it is given anything else.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from bestiary.errors import ImageError
from bestiary.report.figures.plot_inputs import (
    ModelAccuracy,
    check_histories,
    count_predictions,
    model_accuracies,
    readable_images,
)
from bestiary.report.figures.style import BAR, GRID, INK, MUTED, REST, SURFACE, label, rc_settings, series
from bestiary.report.words.wording import percent, whole

P = ParamSpec("P")

_WIDTH_IN = 7.2
_NARROW_IN = 5.0
_ROW_IN = 0.23
_MOST_BARS = 40
_MOST_RESOLUTIONS = 10
_MOST_SAMPLED_CLASSES = 20
_MOST_ANNOTATED = 20
_MOST_TICKS = 40
_LOG_RATIO = 30.0
_SCREEN_DPI = 110
_NEAR = 0.2


class NotebookFigure(Figure):
    """A matplotlib figure that shows itself in a notebook, whether or not pyplot is loaded."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=_SCREEN_DPI)
        return stream.getvalue()


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Hold the report's style while a figure is made, and leave the caller's settings as they were."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(rc_settings()):
            return draw(*args, **kwargs)

    return styled


@_styled
def class_counts(index: pd.DataFrame, *, width_in: float = _WIDTH_IN) -> Figure:
    """Readable images per class, most frequent first; of more than 40 classes the 20 largest and 20 smallest."""
    counts = readable_images(index, ["label"], plot="class_counts")["label"].value_counts(sort=True)
    rows = [(label(str(name)), int(count), BAR) for name, count in counts.items()]
    if len(rows) > _MOST_BARS:
        half = _MOST_BARS // 2
        between = [count for _, count, _ in rows[half:-half]]
        sizes = list(dict.fromkeys((whole(min(between)), whole(max(between)))))
        gap = f"\u2026 {len(between)} classes of {' to '.join(sizes)}"
        rows = [*rows[:half], (gap, 0, REST), *rows[-half:]]
    return _bars(rows, x_label="images", width_in=width_in)


@_styled
def resolutions(index: pd.DataFrame, *, width_in: float = _WIDTH_IN) -> Figure:
    """The ten most frequent resolutions, width x height as seen, and all others in one bar."""
    images = readable_images(index, ["width_px", "height_px"], plot="resolutions")
    names = images["width_px"].astype(str) + " x " + images["height_px"].astype(str)
    counts = names.value_counts(sort=True)
    rows = [(str(name), int(count), BAR) for name, count in counts.head(_MOST_RESOLUTIONS).items()]
    rest = counts.iloc[_MOST_RESOLUTIONS:]
    if len(rest):
        rows.append((f"other ({whole(len(rest))} sizes)", int(rest.sum()), REST))
    return _bars(rows, x_label="images", width_in=width_in)


def _bars(rows: Sequence[tuple[str, int, str]], *, x_label: str, width_in: float) -> Figure:
    figure = NotebookFigure(figsize=(width_in, 0.55 + _ROW_IN * max(len(rows), 1)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    axes.barh(places, [count for _, count, _ in rows], height=0.7, color=[colour for *_, colour in rows])
    axes.set_yticks(places, [name for name, *_ in rows])
    most = max((count for _, count, _ in rows), default=1)
    for place, (_, count, _) in enumerate(rows):
        if count:
            axes.text(count + most * 0.01, place, whole(count), va="center", color=MUTED, fontsize=8.5)
    axes.set_xlim(0, most * 1.1)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(value)))
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    return figure


def sample_images(index: pd.DataFrame, *, seed: int = 0, per_class: int = 3) -> pd.DataFrame:
    """Readable images drawn at random, the same for the same seed, `per_class` a class, in the order of class names."""
    images = readable_images(index, ["label", "path"], plot="sample_images")
    images = images.sort_values(["label", "path"], kind="stable")
    order = np.random.default_rng(seed).permutation(len(images))
    drawn = images.iloc[order].groupby("label", sort=True).head(per_class)
    return drawn.sort_values("label", kind="stable").reset_index(drop=True)


@_styled
def sample_grid(index: pd.DataFrame, root: Path | str, *, seed: int = 0, width_in: float = _WIDTH_IN) -> Figure:
    """Three images a class, drawn with a fixed seed, of at most 20 classes; a file that is gone leaves a grey field.

    Args:
        index: the study's index.
        root: the folder that its paths are relative to: `study.data_root`.
        seed: another seed, other images.
        width_in: width of the figure.
    """
    drawn = sample_images(index, seed=seed)
    names = list(dict.fromkeys(drawn["label"]))
    shown = names[:_MOST_SAMPLED_CLASSES]
    blocks = 2 if len(shown) > 4 and width_in >= _NARROW_IN else 1
    rows = max(math.ceil(len(shown) / blocks), 1)
    side_in = width_in / (3.4 * blocks)
    figure = NotebookFigure(figsize=(width_in, rows * (side_in + 0.25) + 0.2), layout="constrained")
    grid = figure.subplots(rows, 3 * blocks, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, name in enumerate(shown):
        row, first = number % rows, number // rows * 3
        grid[row, first].set_title(label(str(name), 24))
        for column, path in enumerate(drawn.loc[drawn["label"] == name, "path"]):
            _show_image(grid[row, first + column], Path(root) / str(path))
    if len(names) > len(shown):
        figure.text(0.01, 0.0, f"{len(shown)} of {len(names)} classes", color=MUTED, fontsize=8.5, va="bottom")
    return figure


def _show_image(axes: Axes, path: Path) -> None:
    from bestiary.data.images import load_rgb

    try:
        image = load_rgb(path)
    except ImageError:
        axes.imshow(np.full((3, 4, 3), 225, dtype=np.uint8))
        axes.text(1.5, 1, "file not\nreadable", ha="center", va="center", color=INK, fontsize=7)
        return
    image.thumbnail((320, 320))
    axes.imshow(np.asarray(image))


@_styled
def learning_curves(histories: Mapping[str, pd.DataFrame], *, width_in: float = _WIDTH_IN) -> Figure:
    """All models in one figure: accuracy and loss by epoch, training solid, validation dashed, one colour a model.

    Args:
        histories: by model name, as `study.histories()` returns them; a model without rows keeps its colour and has
            no curve.
        width_in: width of the figure.
    """
    histories = check_histories(histories, plot="learning_curves")
    curves = {name: table for name, table in histories.items() if len(table)}
    narrow = width_in < _NARROW_IN
    legend_rows = math.ceil((len(curves) + 2) / (2 if narrow else 4))
    height_in = (4.9 if narrow else 2.9) + 0.19 * legend_rows
    figure = NotebookFigure(figsize=(width_in, height_in if curves else 1.0), layout="constrained")
    if not curves:
        figure.text(0.5, 0.5, "No model was trained in epochs.", ha="center", va="center", color=MUTED)
        return figure
    accuracy, loss = figure.subplots(2 if narrow else 1, 1 if narrow else 2, squeeze=False).flat
    for name, table in curves.items():
        colour, marker = series(list(histories).index(name))
        for axes, measure in ((accuracy, "accuracy"), (loss, "loss")):
            for split, line, fill in (("train", "-", colour), ("val", "--", SURFACE)):
                values = _finite(table[f"{split}_{measure}"])
                axes.plot(
                    table["epoch"],
                    values * 100 if measure == "accuracy" else values,
                    linestyle=line,
                    color=colour,
                    marker=marker,
                    markersize=3.6,
                    markerfacecolor=fill,
                    markeredgewidth=1.0,
                    markevery=max(1, math.ceil(len(table) / 15)),
                    label=f"{name} {split}",
                )
    accuracy.set_title("Accuracy, %")
    loss.set_title("Loss")
    _scale_loss(loss, curves)
    for axes in (accuracy, loss):
        axes.set_xlabel("epoch")
        axes.grid()
        axes.tick_params(length=0, labelcolor=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    _legend(figure, list(histories), curves, columns=2 if narrow else 4)
    return figure


def _legend(figure: Figure, names: list[str], curves: Mapping[str, Any], *, columns: int) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4.5, label=label(name, 26))
        for name, (colour, marker) in ((name, series(number)) for number, name in enumerate(names))
        if name in curves
    ]
    handles += [
        Line2D([], [], color=MUTED, linestyle="-", label="training"),
        Line2D([], [], color=MUTED, linestyle="--", label="validation"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, labelcolor=INK, handlelength=2.6)


def _scale_loss(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    """Draw the loss on a logarithmic scale where one curve would else press the others flat."""
    columns = [_finite(table[f"{split}_loss"]) for table in curves.values() for split in ("train", "val")]
    values = np.concatenate(columns)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() > _LOG_RATIO:
        axes.set_yscale("log")
        axes.set_title("Loss, logarithmic scale")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()


def _finite(column: pd.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


@_styled
def confusion(
    predictions: pd.DataFrame,
    *,
    split: str = "test",
    class_names: Sequence[str] | None = None,
    width_in: float = 5.6,
) -> Figure:
    """One model's confusion matrix: rows true, columns predicted, shaded by the row's share, counts written in.

    Args:
        predictions: of one model, as `study.predictions(model)` returns them.
        split: "test" or "val".
        class_names: of rows and columns, in order; None: as in the predictions. Beyond 20 counts are left out, beyond
            40 most labels.
        width_in: width of the figure.
    """
    counts, class_names = count_predictions(predictions, split=split, class_names=class_names, plot="confusion")
    n = len(class_names)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure = NotebookFigure(figsize=(width_in, width_in * 0.92), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", [SURFACE, BAR]), vmin=0.0, vmax=1.0)
    step = math.ceil(n / _MOST_TICKS)
    ticks = range(0, n, step)
    size = 9 if n <= 12 else max(5.0, 9 - n / 10)
    names = [label(str(class_names[tick]), 20) for tick in ticks]
    axes.set_xticks(ticks, names, rotation=0 if n <= 3 else 90, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if n <= _MOST_ANNOTATED:
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = SURFACE if shares[i, j] > 0.6 else INK
            axes.text(j, i, whole(counts[i, j]), ha="center", va="center", color=colour, fontsize=size)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(GRID)
    return figure


@_styled
def model_intervals(comparison: pd.DataFrame | Mapping[str, Any], *, width_in: float = _WIDTH_IN) -> Figure:
    """Each model's test accuracy (dot) with its 95 % interval (whisker), in the order of the ranking.

    A model far below the others is named at the left edge, so that it does not press them together.

    Args:
        comparison: `study.comparison`, one row a model; or the mapping of `comparison.json`.
        width_in: width of the figure.
    """
    models = model_accuracies(comparison, plot="model_intervals")
    figure = NotebookFigure(figsize=(width_in, 0.65 + 0.3 * max(len(models), 1)), layout="constrained")
    if not models:
        figure.text(0.5, 0.5, "No model has a test accuracy.", ha="center", va="center", color=MUTED)
        return figure
    axes = figure.subplots()
    left, right = _accuracy_limits(models)
    for place, model in enumerate(models):
        colour = BAR if model.is_winner else MUTED
        if model.high < left:
            note = f"\u2190 {percent(model.value)}, off the scale"
            offset = ScaledTranslation(5 / 72, 0, figure.dpi_scale_trans)
            axes.text(left, place, note, transform=axes.transData + offset, va="center", color=MUTED, fontsize=8.5)
            continue
        axes.plot([model.low, model.high], [place, place], color=colour, linewidth=1.8, marker="|", markersize=7)
        axes.plot([model.value], [place], color=colour, marker="o", markersize=6)
    axes.set_yticks(range(len(models)), [label(model.model) for model in models])
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.4g}"))
    axes.set_xlabel("test accuracy, %, with 95 % interval")
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    return figure


@_styled
def accuracy_by_seconds(points: pd.DataFrame, *, width_in: float = _WIDTH_IN) -> Figure:
    """Accuracy against what it costs, each point numbered from 1; those on the Pareto front are filled and joined.

    Args:
        points: columns `seconds` (for 1,000 images), `accuracy` in [0, 1], `on_front`.
        width_in: width of the figure.
    """
    figure = NotebookFigure(figsize=(width_in, 2.9), layout="constrained")
    axes = figure.subplots()
    front = points[points["on_front"]].sort_values("seconds")
    axes.plot(front["seconds"], front["accuracy"], color=BAR, linewidth=1.2, drawstyle="steps-post", zorder=1)
    for number, row in enumerate(points.itertuples(), start=1):
        fill = BAR if row.on_front else SURFACE
        axes.plot([row.seconds], [row.accuracy], marker="o", markersize=6, color=fill, markeredgecolor=BAR)
        axes.annotate(
            str(number), (row.seconds, row.accuracy), xytext=(5, 4), textcoords="offset points", color=INK, fontsize=8.5
        )
    if points["seconds"].max() > _LOG_RATIO * points["seconds"].min():
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0.0)
    axes.margins(x=0.08, y=0.15)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.4g}"))
    axes.set_xlabel("seconds for 1,000 images")
    axes.set_ylabel("out-of-fold accuracy, %")
    axes.grid(axis="both")
    return figure


def _accuracy_limits(models: Sequence[ModelAccuracy]) -> tuple[float, float]:
    """The part of the scale that holds the models near the best; all of them where no two are near each other."""
    best = max(model.value for model in models)
    near = [model for model in models if model.value >= best - _NEAR]
    shown = near if len(near) > 1 else models
    low, high = min(model.low for model in shown), max(model.high for model in shown)
    margin = max((high - low) * 0.15, 0.01)
    return max(low - margin, -0.01), min(high + margin, 1.005)
