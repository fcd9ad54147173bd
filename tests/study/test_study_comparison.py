"""Compare: ranked on validation, shown on test, joined on image_id."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from bestiary.config.recipes import write_study_config
from bestiary.data.index import write_index
from bestiary.errors import StudyError
from bestiary.evaluate.metrics import METRICS
from bestiary.runs.evaluation import right_by_image
from bestiary.runs.record import Logits, read_logits, write_logits
from bestiary.snapshot import StudyPaths
from bestiary.store.tables import write_table
from bestiary.study.comparison import compare_runs, comparison_table, has_comparison, read_comparison, write_comparison
from tests.made_runs import NAMES, Bench


def compared(bench: Bench):
    return compare_runs(bench.snapshot)


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
        right[name] = right_by_image(read_logits(bench.snapshot.paths.run(name)), bench.images).to_numpy()
    p_values = {}
    for name in "bc":
        versus = found[name]["versus_winner"]
        only_this, only_winner = (right[name] & ~right["a"]).sum(), (~right[name] & right["a"]).sum()
        assert (versus["only_this_right"], versus["only_winner_right"]) == (only_this, only_winner)
        assert versus["difference"]["value"] == pytest.approx(right[name].mean() - right["a"].mean())
        p_values[name] = binomtest(int(only_this), int(only_this + only_winner), 0.5).pvalue
        assert versus["p_value"] == pytest.approx(p_values[name])
        assert versus["significant"] == (versus["p_value_holm"] < 0.05)
    smaller = min("bc", key=p_values.get)
    assert found[smaller]["versus_winner"]["p_value_holm"] == pytest.approx(min(1, 2 * p_values[smaller]))
    assert found["a"]["versus_winner"] is None


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_order_of_a_runs_rows_changes_nothing(bench, name):
    bench.add("a", val=0.9, test=0.9, seed=1)
    bench.add("b", val=0.8, test=0.8, seed=2)
    before, folder = compared(bench), bench.snapshot.paths.run(name)
    logits = read_logits(folder)
    order = np.random.default_rng(0).permutation(len(logits.image_ids))
    ids = tuple(logits.image_ids[number] for number in order)
    write_logits(folder, Logits(ids, logits.class_names, logits.values[order]))
    assert compared(bench) == before


def test_a_run_that_was_scored_on_fewer_images_is_not_compared(bench):
    bench.add("a", val=0.9, test=0.9)
    bench.add("b", val=0.8, test=0.8)
    folder = bench.snapshot.paths.run("b")
    logits = read_logits(folder)
    write_logits(folder, Logits(logits.image_ids[:-1], logits.class_names, logits.values[:-1]))
    with pytest.raises(StudyError, match=r"lack image test0089.*bestiary train"):
        compared(bench)


def test_groups_weaken_what_single_images_would_show(bench):
    """Thirty images of one group, on which alone two models differ, are one observation."""
    logits = bench.logits({"val": 0.9, "test": 1.0})
    worse = logits.values.copy()
    places = [number for number, image_id in enumerate(logits.image_ids) if image_id.startswith("test")][:30]
    worse[places] = np.roll(worse[places], 1, axis=1)
    bench.add("a", val=0.9, test=0.9, logits=logits)
    bench.add("b", val=0.9, test=0.9, sure=0.6, logits=Logits(logits.image_ids, logits.class_names, worse))
    assert by_model(compared(bench))["b"]["versus_winner"]["significant"]
    bench.images.loc[bench.images["image_id"].isin([logits.image_ids[n] for n in places]), "group_id"] = "one"
    for name in "ab":
        bench.evaluate(name)
    grouped = by_model(compared(bench))["b"]
    assert not grouped["versus_winner"]["significant"]
    assert grouped["test"]["groups"] == 61


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
    write_comparison(bench.snapshot.paths, found, key="f")
    assert comparison_table(read_comparison(bench.snapshot))["status"].tolist() == ["not run"]


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
    paths = bench.snapshot.paths
    write_comparison(paths, found, key="f")
    assert read_comparison(bench.snapshot) == {"format": 4, "fingerprint": "f", **found}
    assert has_comparison(bench.snapshot, "f")
    assert not has_comparison(bench.snapshot, "g")
    table = comparison_table(found)
    assert table["model"].tolist() == ["a", "b", "hub"]
    assert table["status"].tolist() == ["done", "done", "not run"]
    assert table["test_accuracy"].iloc[0] == pytest.approx(round(0.85 * 90) / 90)
    assert np.all(table["val_accuracy_low"][:2] < table["val_accuracy"][:2])
    assert np.all(table["val_accuracy"][:2] < table["val_accuracy_high"][:2])
    assert table["test_difference_to_winner"].iloc[1] == pytest.approx(
        found["models"][1]["versus_winner"]["difference"]["value"]
    )
    pd.testing.assert_frame_equal(pd.read_csv(paths.comparison_csv), table, check_dtype=False)


def test_models_that_do_not_differ_significantly_from_the_winner_share_its_rank(bench):
    bench.add("best", val=0.9, test=0.9, seed=1)
    bench.add("near", val=0.85, test=0.88, seed=2)
    bench.add("far", val=0.8, test=0.5, seed=3)
    bench.add("late", val=0.7, test=0.87, seed=4)
    found = compared(bench)
    significant = {row["model"]: (row["versus_winner"] or {}).get("significant") for row in found["models"]}
    assert significant == {"best": None, "near": False, "far": True, "late": False}
    table = comparison_table(found).set_index("model")
    assert table["rank"].to_dict() == {"best": 1, "near": 2, "far": 3, "late": 4}
    assert table["rank_shared"].to_dict() == {"best": 1, "near": 1, "far": 3, "late": 1}


def test_a_baseline_before_the_winner_leaves_it_its_rank(bench):
    bench.add("dummy", val=0.9, test=0.9, backbone="majority")
    bench.add("model", val=0.3, test=0.3)
    assert [row["rank_shared"] for row in compared(bench)["models"]] == [1, 2]


def test_without_a_winner_no_rank_is_shared(bench):
    bench.add("dummy", val=0.9, test=0.9, backbone="majority")
    bench.add("other", val=0.9, test=0.9, backbone="majority")
    assert [row["rank_shared"] for row in compared(bench)["models"]] == [1, 2]


def test_the_spreadsheet_has_what_is_tuned_and_nothing_where_it_does_not_matter(bench):
    adam = {"optimizer": {"name": "adam", "learning_rate": 1e-4}, "head": {"hidden": 256, "dropout": 0.5}}
    bench.add("tuned", val=0.9, test=0.9, backbone="resnet18", trainable="modules:layer4", **adam)
    bench.add("probe", val=0.8, test=0.8, backbone="resnet18")
    bench.add("dummy", val=0.1, test=0.1, backbone="majority")
    table = comparison_table(compared(bench)).set_index("model")
    columns = ["trainable", "hidden_units", "dropout", "optimizer", "learning_rate"]
    rows = table[columns].astype(object).where(table[columns].notna(), None)
    assert rows.loc["tuned"].tolist() == ["modules:layer4", 256, 0.5, "adam", 1e-4]
    assert rows.loc["probe"].tolist() == ["head", 0, 0.0, "lbfgs", None]
    assert rows.loc["dummy"].tolist() == [None] * 5


def test_every_column_of_the_spreadsheet_is_documented(bench):
    bench.add("a", val=0.9, test=0.9)
    bench.add_not_run("hub", "no hub")
    text = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    section = text.split("## comparison.csv")[1].split("\n## ")[0]
    documented = set(re.findall(r"`([a-z_0-9]+)`", section))
    assert len(documented) > 20
    families = [rf"(val|test)_({'|'.join(metric.name for metric in METRICS)})(_low|_high)?", r"seconds_\w+"]
    columns = comparison_table(compared(bench)).columns
    unknown = [c for c in columns if c not in documented and not any(re.fullmatch(f, c) for f in families)]
    assert unknown == []


def test_a_study_that_was_not_compared_says_so(bench):
    bench.add("a", val=0.9, test=0.9)
    with pytest.raises(StudyError, match="bestiary compare"):
        read_comparison(bench.snapshot)


def test_a_comparison_of_an_older_bestiary_says_so(bench):
    bench.add("a", val=0.9, test=0.9)
    found = write_comparison(bench.snapshot.paths, compared(bench), key="f")
    del found["format"]
    bench.snapshot.paths.comparison.write_text(json.dumps(found))
    with pytest.raises(StudyError, match="older bestiary"):
        read_comparison(bench.snapshot)
    assert not has_comparison(bench.snapshot, "f")


WITHOUT_TORCH = """
    import sys
    from pathlib import Path

    class Block:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("torch", "torchvision", "timm", "openvino", "safetensors"):
                raise ImportError(f"{name} is blocked")

    sys.meta_path.insert(0, Block())
    import pandas as pd
    import bestiary

    study = bestiary.Study.open(sys.argv[1])
    table = study.comparison
    print(table["model"].iloc[0], len(table), len(study.predictions("a")), len(study.index_table))
"""


def test_a_study_is_read_where_torch_cannot_be_imported(bench):
    bench.add("a", val=0.9, test=0.85, seed=1)
    bench.add("b", val=0.8, test=0.8, seed=2)
    bench.add_not_run("hub", "no hub")
    paths = StudyPaths(bench.folder)
    write_study_config(paths.config, bench.config)
    write_comparison(paths, compared(bench), key="f")
    write_table(paths.splits, bench.images[["image_id", "group_id", "split", "drawn"]])
    columns = {"split_given": "", "group_given": "", "error": "", "width_px": 1, "height_px": 1, "bytes": 1}
    write_index(
        bench.folder, bench.images.drop(columns=["split", "drawn", "group_id", "label_given"]).assign(**columns)
    )
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT_TORCH), str(bench.folder)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["a", "3", "150", "270"]


def test_without_corrections_there_is_nothing_on_labels_as_given(bench):
    bench.add("m", val=0.8, test=0.7)
    found = compared(bench)
    assert found["models"][0]["test_as_given"] is None
    assert not [column for column in comparison_table(found) if "as_given" in column]
