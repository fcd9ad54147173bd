"""Compare: ranked on validation, shown on test, joined on image_id."""

import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from bestiary.config.recipes import write_study_config
from bestiary.errors import StudyError
from bestiary.runs import record as runs
from bestiary.store.tables import read_table, write_table
from bestiary.study import comparison as compare
from tests.made_runs import NAMES, Bench


def compared(bench: Bench):
    return compare.compare_runs(compare.read_runs(bench.folder, bench.config), bench.splits)


def by_model(comparison):
    return {row["model"]: row for row in comparison["models"]}


def test_models_are_ranked_on_validation_and_not_on_test(bench):
    bench.add("test-star", val=0.7, test=0.95)
    bench.add("val-star", val=0.8, test=0.6)
    found = compared(bench)
    assert found["winner"] == "val-star"
    assert [(row["model"], row["rank"]) for row in found["models"]] == [("val-star", 1), ("test-star", 2)]
    assert found["ranked_by"] == "val accuracy"
    assert found["class_names"] == NAMES
    assert found["split_sizes"] == {"train": 120, "val": 60, "test": 90}


def test_ties_go_to_the_lower_validation_loss(bench):
    bench.add("unsure", val=0.8, test=0.9, sure=0.5)
    bench.add("sure", val=0.8, test=0.6, sure=0.8)
    assert compared(bench)["winner"] == "sure"


def test_a_dummy_never_wins(bench):
    bench.add("dummy", val=0.9, test=0.9, backbone="majority")
    bench.add("model", val=0.3, test=0.3)
    found = compared(bench)
    assert found["winner"] == "model"
    assert [row["model"] for row in found["models"]] == ["dummy", "model"]
    assert by_model(found)["dummy"]["versus_winner"]["difference"]["value"] == pytest.approx(0.6)


def test_with_a_dummy_alone_nobody_wins(bench):
    bench.add("dummy", val=0.9, test=0.9, backbone="majority")
    found = compared(bench)
    assert found["winner"] is None
    assert found["models"][0]["versus_winner"] is None


def test_differences_are_paired_by_image(bench):
    bench.add("a", val=0.9, test=0.9, seed=1)
    bench.add("b", val=0.8, test=0.8, seed=2)
    bench.add("c", val=0.7, test=0.8, seed=3)
    found = by_model(compared(bench))
    right = {}
    for name in "abc":
        test = read_table(runs.run_dir(bench.folder, name) / runs.PREDICTIONS).query("split == 'test'")
        right[name] = (test["y_true"] == test["y_pred"]).to_numpy()
    p_values = {}
    for name in "bc":
        versus = found[name]["versus_winner"]
        only_this, only_winner = (right[name] & ~right["a"]).sum(), (~right[name] & right["a"]).sum()
        assert (versus["only_this_right"], versus["only_winner_right"]) == (only_this, only_winner)
        assert versus["difference"]["value"] == pytest.approx(right[name].mean() - right["a"].mean())
        p_values[name] = binomtest(int(only_this), int(only_this + only_winner), 0.5).pvalue
        assert versus["p_value"] == pytest.approx(p_values[name])
        assert versus["told_apart"] == (versus["p_value_holm"] < 0.05)
    smaller = min("bc", key=p_values.get)
    assert found[smaller]["versus_winner"]["p_value_holm"] == pytest.approx(min(1, 2 * p_values[smaller]))
    assert found["a"]["versus_winner"] is None


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_order_of_a_runs_rows_changes_nothing(bench, name):
    bench.add("a", val=0.9, test=0.9, seed=1)
    bench.add("b", val=0.8, test=0.8, seed=2)
    before = compared(bench)
    file = runs.run_dir(bench.folder, name) / runs.PREDICTIONS
    write_table(file, read_table(file).sample(frac=1, random_state=0))
    assert compared(bench) == before


@pytest.mark.parametrize("change", ["other", "fewer", "more"])
def test_runs_scored_on_different_images_are_not_compared(bench, change):
    bench.add("a", val=0.9, test=0.9)
    bench.add("b", val=0.8, test=0.8)
    file = runs.run_dir(bench.folder, "b") / runs.PREDICTIONS
    table = read_table(file)
    if change == "other":
        table.loc[table.index[-1], "image_id"] = "unknown"
    elif change == "fewer":
        table = table.iloc[:-1]
    else:
        table = pd.concat([table, table.iloc[-1:].assign(image_id="one more")])
    write_table(file, table)
    with pytest.raises(StudyError, match=r"b and a .*different test images.*bestiary train"):
        compared(bench)


def test_models_not_run_are_listed_with_the_reason_and_hinder_nobody(bench):
    bench.add_not_run("hub", 'the hub did not answer, said "no"')
    bench.add("a", val=0.9, test=0.9)
    found = compared(bench)
    assert found["winner"] == "a"
    assert found["not_run"] == [{"model": "hub", "reason": 'the hub did not answer, said "no"'}]
    assert [row["model"] for row in found["models"]] == ["a"]


def test_a_study_of_which_nothing_ran_can_still_be_read(bench):
    bench.add_not_run("hub", "no hub")
    found = compared(bench)
    assert (found["winner"], found["models"]) == (None, [])
    compare.write_comparison(bench.folder, found, fingerprint="f")
    assert compare.comparison_table(compare.read_comparison(bench.folder))["status"].tolist() == ["not run"]


def test_a_model_that_was_never_trained_is_named(bench):
    bench.add("a", val=0.9, test=0.9)
    bench.models["later"] = {"backbone": "simple_cnn"}
    with pytest.raises(StudyError, match=r"'later'.*bestiary train"):
        compared(bench)


def test_json_and_spreadsheet_give_back_what_was_found(bench):
    bench.add("a", val=0.9, test=0.85, seed=1)
    bench.add("b", val=0.8, test=0.8, seed=2)
    bench.add_not_run("hub", 'no, "hub"\nat all')
    found = compared(bench)
    compare.write_comparison(bench.folder, found, fingerprint="f")
    assert compare.read_comparison(bench.folder) == {"fingerprint": "f", **found}
    table = compare.comparison_table(found)
    assert table["model"].tolist() == ["a", "b", "hub"]
    assert table["status"].tolist() == ["done", "done", "not run"]
    assert table["test_accuracy"].iloc[0] == pytest.approx(round(0.85 * 90) / 90)
    assert np.all(table["val_accuracy_low"][:2] < table["val_accuracy"][:2])
    assert np.all(table["val_accuracy"][:2] < table["val_accuracy_high"][:2])
    assert table["test_difference_to_winner"].iloc[1] == pytest.approx(
        found["models"][1]["versus_winner"]["difference"]["value"]
    )
    pd.testing.assert_frame_equal(pd.read_csv(bench.folder / compare.CSV_NAME), table, check_dtype=False)


def test_a_study_that_was_not_compared_says_so(bench):
    with pytest.raises(StudyError, match="bestiary compare"):
        compare.read_comparison(bench.folder)


def test_the_fingerprint_changes_with_any_run(bench):
    bench.add("a", val=0.9, test=0.9)
    first = compare.comparison_fingerprint(bench.folder, bench.config)
    assert compare.comparison_fingerprint(bench.folder, bench.config) == first
    bench.finish("a", "done", key="another")
    second = compare.comparison_fingerprint(bench.folder, bench.config)
    bench.models["b"] = {"backbone": "simple_cnn"}
    assert len({first, second, compare.comparison_fingerprint(bench.folder, bench.config)}) == 3


WITHOUT_TORCH = """
    import sys
    from pathlib import Path

    class Block:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("torch", "torchvision", "timm", "openvino", "safetensors"):
                raise ImportError(f"{name} is blocked")

    sys.meta_path.insert(0, Block())
    import pandas as pd
    from bestiary.core.recipes import read_study_config
    from bestiary.study.compare import compare_runs, comparison_table, read_runs
    from bestiary.study.metrics import split_metrics

    folder = Path(sys.argv[1])
    config = read_study_config(folder / "study.toml")
    comparison = compare_runs(read_runs(folder, config), pd.read_parquet(folder / "splits.parquet"))
    print(comparison["winner"], len(comparison_table(comparison)))
"""


def test_an_old_study_is_read_and_compared_where_torch_cannot_be_imported(bench):
    bench.add("a", val=0.9, test=0.85, seed=1)
    bench.add("b", val=0.8, test=0.8, seed=2)
    bench.add_not_run("hub", "no hub")
    write_study_config(bench.folder / "study.toml", bench.config)
    write_table(bench.folder / "splits.parquet", bench.splits)
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT_TORCH), str(bench.folder)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["a", "3"]


def test_without_corrections_there_is_nothing_on_labels_as_given(bench):
    bench.add("m", val=0.8, test=0.7)
    found = compared(bench)
    assert found["models"][0]["test_as_given"] is None
    assert not [column for column in compare.comparison_table(found) if "as_given" in column]
