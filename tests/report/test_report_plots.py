"""Figures hold what the tables hold, and draw without a warning."""

import io
import re
import subprocess
import sys
from xml.etree.ElementTree import XML, Element

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bestiary.errors import UsageError
from bestiary.report.figures import plots
from bestiary.report.figures.style import BAR, MUTED, SERIES, label, series
from bestiary.report.figures.svg import figure_svg
from bestiary.study.comparison import comparison_table
from bestiary.study.study import Study


def index_of(counts: dict[str, int], sizes: list[tuple[int, int]] | None = None) -> pd.DataFrame:
    labels = [name for name, count in counts.items() for _ in range(count)]
    sizes = sizes or [(300, 200)]
    return pd.DataFrame(
        {
            "image_id": [f"{k:020x}" for k in range(len(labels))],
            "path": [f"{k}.png" for k in range(len(labels))],
            "label": labels,
            "width_px": [sizes[k % len(sizes)][0] for k in range(len(labels))],
            "height_px": [sizes[k % len(sizes)][1] for k in range(len(labels))],
            "error": "",
        }
    )


def history(epochs: int, start: float = 1.0) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    table = {"epoch": epoch}
    for split in ("train", "val"):
        table |= {f"{split}_loss": start / epoch, f"{split}_accuracy": 1 - 0.5 / epoch}
    return pd.DataFrame(table)


def accuracies(values: dict[str, float]) -> dict[str, object]:
    models = [
        {"model": name, "backbone": name, "test": {"accuracy": {"value": v, "low": v - 0.02, "high": v + 0.02}}}
        for name, v in values.items()
    ]
    return {"winner": next(iter(values), None), "models": models}


def texts(figure: Figure) -> list[str]:
    # Drawing is what lays a figure out, and what would warn.
    figure.savefig(io.BytesIO(), format="svg")
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]


def elements(svg: str) -> Element:
    return XML(svg)


def bar_lengths(figure: Figure) -> list[float]:
    return [patch.get_width() for patch in figure.axes[0].patches]


def test_class_counts_are_sorted_and_leave_out_unread_files():
    index = index_of({"cat": 3, "dog": 5, "yak": 1})
    index.loc[0, "error"] = "empty file"
    figure = plots.class_counts(index)
    assert bar_lengths(figure) == [5, 2, 1]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["dog", "cat", "yak"]


def test_many_classes_are_thinned_out():
    figure = plots.class_counts(index_of({f"class {k}": k + 1 for k in range(120)}))
    assert len(bar_lengths(figure)) == 41
    assert "\u2026 80 classes of 21 to 100" in texts(figure)
    assert figure.get_figheight() < 11


@pytest.mark.parametrize(
    ("sizes", "bars", "last"), [(1, 1, "100 x 50"), (10, 10, "109 x 50"), (15, 11, "other (5 sizes)")]
)
def test_resolutions(sizes, bars, last):
    figure = plots.resolutions(index_of({"cat": 30}, [(100 + k, 50) for k in range(sizes)]))
    assert len(bar_lengths(figure)) == bars
    assert sum(bar_lengths(figure)) == 30
    assert figure.axes[0].get_yticklabels()[-1].get_text() == last


def test_learning_curves_have_one_colour_a_model_and_one_line_style_a_split():
    figure = plots.learning_curves({"a": history(4), "probe": history(0), "b": history(6)})
    accuracy, loss = figure.axes
    for axes in (accuracy, loss):
        lines = {line.get_label(): line for line in axes.lines}
        assert set(lines) == {"a train", "a val", "b train", "b val"}
        assert [lines[f"{name} train"].get_linestyle() for name in "ab"] == ["-", "-"]
        assert [lines[f"{name} val"].get_linestyle() for name in "ab"] == ["--", "--"]
        assert lines["a train"].get_color() == lines["a val"].get_color() == SERIES[0]
        assert lines["b train"].get_color() == lines["b val"].get_color() == SERIES[2]
    assert accuracy.lines[0].get_ydata().tolist() == pytest.approx([50, 75, 250 / 3, 87.5])
    assert {"a", "b", "training", "validation"} <= set(texts(figure))


def test_learning_curves_of_no_one():
    figure = plots.learning_curves({"probe": history(0)})
    assert figure.axes == []
    assert texts(figure) == ["No model was trained in epochs."]


def test_learning_curves_stand_odd_values():
    wild = history(5, start=400.0)
    wild.loc[0, "train_loss"] = np.inf
    wild.loc[1, "val_loss"] = np.nan
    figure = plots.learning_curves({"wild": wild, "one epoch": history(1)}, width_in=3.6)
    assert figure.axes[1].get_yscale() == "log"
    assert "Loss, logarithmic scale" in texts(figure)


def test_no_two_models_look_alike():
    assert len({series(number) for number in range(49)}) == 49


def predictions_of(pairs: dict[tuple[str, str], int], names: list[str], *, split: str = "test") -> pd.DataFrame:
    rows = [pair for pair, count in pairs.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["y_true", "y_pred"]).assign(split=split)
    columns = [f"p:{name}" for name in names]
    return table.join(pd.DataFrame(1 / len(names), columns=columns, index=table.index))


def test_confusion_shows_counts_by_share_of_the_row():
    pairs = {("cat", "cat"): 9, ("cat", "dog"): 1, ("dog", "dog"): 200}
    table = pd.concat(
        [predictions_of(pairs, ["cat", "dog"]), predictions_of({("dog", "cat"): 7}, ["cat", "dog"], split="val")]
    )
    figure = plots.confusion(table)
    assert figure.axes[0].images[0].get_array().tolist() == [[0.9, 0.1], [0.0, 1.0]]
    assert {"9", "1", "200"} <= set(texts(figure))
    assert plots.confusion(table, split="val").axes[0].images[0].get_array().tolist() == [[0.0, 0.0], [1.0, 0.0]]
    turned = plots.confusion(table, class_names=["dog", "cat"])
    assert turned.axes[0].images[0].get_array().tolist() == [[1.0, 0.0], [0.1, 0.9]]


def test_confusion_of_many_classes_is_thinned_out():
    names = [f"class {k}" for k in range(150)]
    many = plots.confusion(predictions_of({(name, name): 2 for name in names}, names))
    assert many.axes[0].images[0].get_array().shape == (150, 150)
    assert len(many.axes[0].get_xticks()) <= 40
    assert "2" not in texts(many)


def test_every_figure_takes_what_a_study_returns(make_study):
    made = make_study()
    study = Study.open(made.folder)
    comparison = comparison_table(study.read_comparison())
    accuracy, _ = plots.learning_curves(study.histories()).axes
    assert {line.get_label() for line in accuracy.lines} == {"cnn train", "cnn val"}
    assert sum(bar_lengths(plots.class_counts(made.index))) == len(made.index)
    assert sum(bar_lengths(plots.resolutions(made.index))) == len(made.index)
    assert len([axes for axes in plots.sample_grid(made.index, str(made.data)).axes if axes.images]) == 9
    predictions = study.predictions("probe")
    drawn = plots.confusion(predictions).axes[0].images[0].get_array()
    test = predictions[predictions["split"] == "test"]
    np.testing.assert_allclose(drawn, pd.crosstab(test["y_true"], test["y_pred"], normalize="index"))
    from_table, from_file = plots.model_intervals(comparison), plots.model_intervals(study.read_comparison())
    assert figure_svg(from_table, name="a", alt="") == figure_svg(from_file, name="a", alt="")


def test_the_comparison_of_a_study_without_a_figure_has_nothing_to_draw(make_study):
    made = make_study(not_run=dict.fromkeys(("probe", "cnn", "majority"), "no network"))
    comparison = comparison_table(Study.open(made.folder).read_comparison())
    assert texts(plots.model_intervals(comparison)) == ["No model has a test accuracy."]


def test_a_baseline_ahead_in_the_table_is_not_marked_as_the_winner():
    rows = [{"rank": 1, "model": "m", "backbone": "majority"}, {"rank": 2, "model": "a", "backbone": "resnet18"}]
    table = pd.DataFrame(rows).assign(test_accuracy=0.5, test_accuracy_low=0.4, test_accuracy_high=0.6)
    baseline, winner = (line.get_color() for line in plots.model_intervals(table).axes[0].lines[::2])
    assert (baseline, winner) == (MUTED, BAR)


@pytest.mark.parametrize(
    ("draw", "wrong", "says"),
    [
        (plots.class_counts, {"cat": 3}, r"plots.class_counts takes the index \(study.index_table\), not a dict"),
        (plots.resolutions, pd.DataFrame({"label": ["cat"], "error": [""]}), "no column 'width_px'"),
        (plots.learning_curves, pd.DataFrame(), r"study.histories\(\)\), not a DataFrame"),
        (plots.learning_curves, {"a": pd.DataFrame({"epoch": [1]})}, "no column 'train_loss'"),
        (plots.confusion, {"confusion": [[1]]}, r"study.predictions\(model\)\), not a dict"),
        (plots.confusion, pd.DataFrame({"y_true": ["cat"], "y_pred": ["cat"]}), "no column 'split'"),
        (plots.confusion, predictions_of({("cat", "cat"): 1}, ["cat"], split="val"), "no row of split 'test'.*: val"),
        (plots.confusion, predictions_of({("cat", "yak"): 1}, ["cat"]), "class 'yak'.*not among"),
        (plots.model_intervals, [1], r"the comparison \(study.comparison\), not a list"),
        (plots.model_intervals, {"cat": 3}, "has no 'models'"),
        (plots.model_intervals, pd.DataFrame({"model": ["a"], "rank": [1]}), "no column 'test_accuracy'"),
    ],
)
def test_what_is_no_result_of_a_study_is_refused(draw, wrong, says):
    with pytest.raises(UsageError, match=says):
        draw(wrong)


def test_intervals_are_dots_and_whiskers():
    figure = plots.model_intervals(accuracies({"a": 0.9, "b": 0.85}))
    whiskers = [line.get_xdata().tolist() for line in figure.axes[0].lines]
    assert whiskers[:2] == [[pytest.approx(0.88), pytest.approx(0.92)], [0.9]]
    assert len(whiskers) == 4


def test_a_model_far_below_is_named_off_the_scale():
    figure = plots.model_intervals(accuracies({"a": 0.97, "b": 0.95, "majority": 0.18}))
    assert figure.axes[0].get_xlim()[0] > 0.9
    assert "\u2190 18.0\u00a0%, off the scale" in texts(figure)
    alone = plots.model_intervals(accuracies({"a": 0.97, "majority": 0.18}))
    assert alone.axes[0].get_xlim()[0] < 0.17
    assert texts(plots.model_intervals({"models": []})) == ["No model has a test accuracy."]


def test_samples_are_fixed_by_the_seed():
    index = index_of({"dog": 9, "cat": 2})
    drawn = plots.sample_images(index, seed=1)
    assert drawn["label"].tolist() == ["cat"] * 2 + ["dog"] * 3
    assert drawn.equals(plots.sample_images(index, seed=1))
    # The order of the rows does not matter.
    assert drawn.equals(plots.sample_images(index.iloc[::-1], seed=1))


def test_sample_grid_marks_a_missing_file(tmp_path):
    index = index_of({"cat": 3, "dog": 3})
    for path in index["path"][1:]:
        Image.new("RGB", (30, 20), "red").save(tmp_path / path)
    figure = plots.sample_grid(index, tmp_path, seed=0)
    assert len([axes for axes in figure.axes if axes.images]) == 6
    assert {"cat", "dog", "file not\nreadable"} <= set(texts(figure))


NAMES = ("$\\frac{", "\u732b", "\u0643\u0644\u0628", "<b>&amp;</b>", "bell\x07 and \u202eturn", "long " * 60, "")


def test_odd_names_draw_without_a_warning():
    figure = plots.class_counts(index_of(dict.fromkeys(NAMES, 2)))
    svg = figure_svg(figure, name="odd", alt='a "figure" <of> classes')
    root = elements(svg)
    found = {"".join(text.itertext()) for text in root.iter("text")}
    assert {label(name) for name in NAMES} <= found
    assert root.get("aria-label") == 'a "figure" <of> classes'


def test_svg_is_themed_and_self_contained():
    svg = figure_svg(plots.learning_curves({"a": history(3)}), name="one", alt="curves")
    assert {"var(--series-1)", "var(--ink)"} <= set(re.findall(r"var\([a-z0-9-]+\)", svg))
    for foreign in ("http", "<style", "<metadata", "<!--", "#0072b2", "DejaVu"):
        assert foreign not in svg
    ids = [element.get("id", "") for element in elements(svg).iter() if "id" in element.attrib]
    assert {name[:4] for name in ids} == {"one-"}


def test_a_class_called_like_a_colour_keeps_its_name():
    svg = figure_svg(plots.class_counts(index_of({"#0072b2": 2, 'id="x" url(#y)': 1})), name="c", alt="")
    found = {"".join(text.itertext()) for text in elements(svg).iter("text")}
    assert {"#0072b2", 'id="x" url(#y)'} <= found


@pytest.mark.slow
def test_figures_leave_the_global_state_alone():
    before = dict(mpl.rcParams)
    plots.class_counts(index_of({"cat": 2}))
    assert dict(mpl.rcParams) == before
    code = "import sys\nfrom bestiary.report.figures import plots\nassert 'matplotlib.pyplot' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
