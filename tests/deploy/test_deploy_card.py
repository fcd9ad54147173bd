"""The model card: every sentence follows from a fact, and the facts are those of the study."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from huggingface_hub import ModelCard

from bestiary.config.parsing import parse_config
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.saved import write_corrections
from bestiary.deploy.card import choice_sentences, label_sentences, split_sentences, write_card
from bestiary.deploy.card_facts import (
    CardFacts,
    CardFigure,
    ChoiceFacts,
    LabelFacts,
    NetworkFacts,
    RefitFacts,
    SplitFacts,
    WeakClass,
    card_facts,
)
from bestiary.evaluate.intervals import Interval
from bestiary.evaluate.metrics import metrics_of
from bestiary.runs.record import RunRecord, RunStatus
from bestiary.study.study import Study
from tests.conftest import draw_shape

DRAWN = SplitFacts(
    sizes={"train": 1832, "val": 262, "test": 524},
    given=(),
    seed=7,
    together="near",
    has_groups=False,
    straddling=0,
    straddling_test=0,
)
AS_THEY_CAME = LabelFacts(relabelled=0, dropped=0, test_relabelled=0, test_dropped=0)
GEOMETRY = {"size_px": 224, "fit": "crop", "interpolation": "bicubic", "crop_fraction": 0.875}
FACTS = CardFacts(
    model="probe",
    networks=(NetworkFacts(("resnet18",), "hub", "head"),),
    parameters=11_181_642,
    parameters_trained=5_130,
    bestiary_version="0.1.0",
    class_names=("cat", "dog"),
    geometries=(GEOMETRY,),
    data_name="photos",
    split=DRAWN,
    labels=AS_THEY_CAME,
    choices=ChoiceFacts(made=("the epoch (3 of 5)",), rivals=2, best="probe"),
    figures=tuple(
        CardFigure(name, title, Interval(0.9, 0.8, 0.95), Interval(0.91, 0.85, 0.94))
        for name, title in (("accuracy", "Accuracy"), ("macro_f1", "Macro F1"))
    ),
    weakest=WeakClass("dog", 0.87, 37),
    test_first_scored_at="2026-01-31T12:00:00Z",
)


def card_of(folder: Path, facts: CardFacts) -> ModelCard:
    write_card(folder / "README.md", facts)
    return ModelCard.load(folder / "README.md")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "The splits were drawn at random within each class, with seed 7. "
            "All copies that were found, exact and near, are in one split.",
        ),
        (
            {"together": "exact"},
            "The splits were drawn at random within each class, with seed 7. "
            "Exact copies of an image are in one split. Near copies may be in several.",
        ),
        (
            {"has_groups": True},
            "The splits were drawn at random within each class, with seed 7. "
            "All copies that were found, exact and near, are in one split; so are the images of one group.",
        ),
        (
            {"given": ("train", "test")},
            "The test split came with the data; the validation split was drawn at random from the other images, with "
            "seed 7. All copies that were found, exact and near, are in one split.",
        ),
        (
            {"given": ("train", "val", "test"), "straddling": 1, "straddling_test": 1},
            "The splits came with the data. 1 set of copies is in more than one split: the test figures may be too "
            "high.",
        ),
        (
            {"given": ("train", "val", "test"), "straddling": 2, "straddling_test": 2, "leaked": 3}
            | {"leak_free": Interval(0.9, 0.85, 0.94)},
            "The splits came with the data. 2 sets of copies are in more than one split: the test figures may be too "
            "high. Without the 3 test images concerned, test accuracy is 0.9000 [0.8500, 0.9400].",
        ),
        (
            {"given": ("train", "val"), "straddling": 2},
            "The validation split came with the data; the test split was drawn at random from the other images, with "
            "seed 7. 2 sets of copies are in more than one split: the validation figures may be too high.",
        ),
        (
            {"given": ("train", "val", "test"), "straddling": 12, "straddling_test": 3, "has_groups": True},
            "The splits came with the data. 12 sets of images that belong together (copies, or one group) are in more "
            "than one split: the test figures may be too high.",
        ),
    ],
)
def test_where_splits_come_from_and_whether_copies_cross_them(changes, expected):
    assert split_sentences(replace(DRAWN, **changes)) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (AS_THEY_CAME, "The labels are those that came with the data; none was corrected."),
        (LabelFacts(1, 0, 0, 0), "Corrections: 1 image was relabelled. None of them is a test image."),
        (
            LabelFacts(12, 3, 2, 1, Interval(0.95, 0.93, 0.97)),
            "Corrections: 12 images were relabelled and 3 were dropped. Of the test images, 2 images were relabelled "
            "and 1 was dropped. The figures below are for the corrected labels. On the labels that came with the data, "
            "test accuracy is 0.9500 [0.9300, 0.9700].",
        ),
        (
            LabelFacts(0, 1, 0, 1),
            "Corrections: 1 image was dropped. Of the test images, 1 image was dropped. The figures below are for the "
            "corrected labels.",
        ),
    ],
)
def test_what_corrections_changed(labels, expected):
    assert label_sentences(labels) == expected


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (ChoiceFacts((), 0, "probe"), "No other model was trained."),
        (ChoiceFacts((), 1, "probe"), "Of 2 models, this one has the best validation accuracy."),
        (
            ChoiceFacts(("the head, out of 24", "the epoch (3 of 5)"), 3, "probe"),
            "Chosen on validation: the head, out of 24 and the epoch (3 of 5). Of 4 models, this one has the best "
            "validation accuracy.",
        ),
        (ChoiceFacts((), 3, "other"), "The model itself was named by its user; the best on validation is `other`."),
        (ChoiceFacts((), 0, None), "The model itself was named by its user."),
    ],
)
def test_what_was_chosen_on_validation(choices, expected):
    assert choice_sentences("probe", choices) == expected


def test_the_card_states_each_fact_once(tmp_path):
    card = card_of(tmp_path, FACTS)
    for words in (
        "`photos`: 1,832 images for training, 262 for validation, 524 for test.",
        "The test split was first scored at 2026-01-31T12:00:00Z, after the weights were fixed.",
        "| Accuracy | 0.9000 [0.8000, 0.9500] | 0.9100 [0.8500, 0.9400] |",
        "Weakest class on test: `dog`, F1 0.870 on 37 images.",
        "11,181,642 parameters, 5,130 of them trained.",
        "Labels were taken as they came.",
    ):
        assert card.text.count(words) == 1, words
    assert "Top-3" not in card.text
    assert card.data.eval_results[0].metric_value == 0.91


@pytest.mark.parametrize(
    ("trainable", "words"),
    [
        ("last:1 stage", "trainable: last:1 stage;"),
        # In a code span: as plain text the backslashes and stars would be Markdown's.
        (r"modules:layer4\.0\.(conv[23]|bn.*)", r"trainable: modules that match `layer4\.0\.(conv[23]|bn.*)`;"),
    ],
)
def test_what_was_trained_is_told(trainable, words, tmp_path):
    facts = replace(FACTS, networks=(replace(FACTS.networks[0], trainable=trainable),))
    assert card_of(tmp_path, facts).text.count(words) == 1


def test_an_ensemble_names_its_members_and_how_each_was_trained(tmp_path):
    members = (
        NetworkFacts(("resnet18",), "hub", "last:1 stage", "tuned", 0.75),
        NetworkFacts(("resnet18", "resnet34"), "hub", "head", "both", 0.25),
    )
    text = card_of(tmp_path, replace(FACTS, networks=members)).text
    assert "75% of tuned: `resnet18`, weights `hub`, trainable: last:1 stage" in text
    assert "25% of both: `resnet18` and `resnet34`, joined, weights `hub`, trainable: head" in text


def test_limits_follow_from_the_facts(tmp_path):
    straddling = replace(
        FACTS, split=replace(DRAWN, straddling=2, straddling_test=1), labels=replace(AS_THEY_CAME, relabelled=1)
    )
    text = card_of(tmp_path, straddling).text
    assert "Copies of test images are in another split: on new images the figures may be lower." in text
    assert "Labels that nobody corrected were taken as they are." in text
    assert "Labels were taken as they came." not in text


@pytest.mark.parametrize(
    ("weakest", "says"),
    [(None, "No class has a test image."), (WeakClass("dog", 1.0, 3), "No test image was misclassified.")],
)
def test_without_a_weakest_class_the_card_says_why(tmp_path, weakest, says):
    assert says in card_of(tmp_path, replace(FACTS, weakest=weakest)).text


def test_hostile_names_stay_inside_the_card(tmp_path):
    names = ("`bar`\n# Heading", "---", "x: y")
    facts = replace(FACTS, class_names=names, data_name="a`b\n# c", model="m\n# d", weakest=WeakClass(names[0], 0.5, 3))
    card = card_of(tmp_path, facts)
    for heading in ("\n# Heading", "\n# c", "\n# d"):
        assert heading not in card.text
    assert card.data.pipeline_tag == "image-classification"


def run_of(class_names: list[str], **metrics: Any) -> RunRecord:
    figure = {"value": 0.9, "low": 0.8, "high": 0.95}
    names = [metric.name for metric in metrics_of(len(class_names))]
    figures = dict.fromkeys(names, figure)
    per_class = [{"class_name": name, "f1": 0.5, "support": 4} for name in class_names]
    per_class[0] = {"class_name": class_names[0], "f1": 0.0, "support": 0}
    status = RunStatus("probe", "frozen", "done", "feed", "", "", "0.1.0")
    model = {"backbone": "resnet18", "weights": "hub", "trainable": "head"}
    fit = {"class_names": class_names, "parameters": {"total": 10, "trainable": 2}, "geometries": [GEOMETRY], **metrics}
    found = {
        "val": figures,
        "test": {**figures, "per_class": per_class},
        "test_scored_at": "2026-01-31T12:00:00Z",
        **metrics,
    }
    return RunRecord(status, model, {}, pd.DataFrame(), fit, found)


def index_of(**columns: Any) -> pd.DataFrame:
    """Six images, two a split."""
    table = {"image_id": list("abcdef"), "label": "cat", "label_given": "cat", "split_given": "", "group_given": ""}
    return pd.DataFrame({**table, "error": "", **columns})


def splits_of(**columns: Any) -> pd.DataFrame:
    split = ["train", "train", "val", "val", "test", "test"]
    return pd.DataFrame({"image_id": list("abcdef"), "group_id": list("abcdef"), "split": split, **columns})


COMPARISON = {
    "winner": "probe",
    "models": [
        {"model": "probe", "backbone": "resnet18"},
        {"model": "other", "backbone": "resnet50"},
        {"model": "majority", "backbone": "majority"},
    ],
}


def facts_of(run: RunRecord, index: pd.DataFrame, splits: pd.DataFrame, **split: Any) -> CardFacts:
    config = parse_config(
        {"data": {"path": "x/photos"}, "split": split, "models": {"probe": {"backbone": "resnet18"}}}, origin="test"
    )
    return card_facts(run, config=config, comparison=COMPARISON, index=index, splits=splits, refit={})


@pytest.mark.parametrize(("classes", "there"), [(2, False), (3, False), (4, True)])
def test_top_three_stands_where_it_says_something(classes, there):
    facts = facts_of(run_of(["cat", "dog", "sheep", "yak"][:classes]), index_of(), splits_of())
    assert ("Top-3 accuracy" in [figure.title for figure in facts.figures]) is there


def test_a_class_without_test_images_is_not_the_weakest():
    facts = facts_of(run_of(["cat", "dog"]), index_of(), splits_of())
    assert facts.weakest == WeakClass("dog", 0.5, 4)


def test_split_facts_are_those_of_the_tables():
    given = ["train", "train", "val", "val", "test", "test"]
    index, splits = index_of(split_given=given), splits_of(group_id=["a", "b", "c", "d", "a", "f"])
    facts = facts_of(run_of(["cat", "dog"]), index, splits, group_duplicates="exact", seed=3)
    sizes = {"train": 2, "val": 2, "test": 2}
    assert facts.split == SplitFacts(
        sizes, ("train", "val", "test"), 3, "exact", False, straddling=1, straddling_test=1
    )
    figures = {"n": 1, "n_leaked": 1, "accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}
    measured = facts_of(run_of(["cat", "dog"], test_leak_free=figures), index, splits).split
    assert (measured.leaked, measured.leak_free) == (1, Interval(0.7, 0.6, 0.8))
    apart = facts_of(run_of(["cat", "dog"]), index, splits_of(group_id=["a", "b", "a", "d", "e", "f"]))
    assert (apart.split.straddling, apart.split.straddling_test) == (1, 0)
    ignored = facts_of(run_of(["cat", "dog"]), index.assign(group_given="g"), splits_of(), use_given=False)
    assert (ignored.split.given, ignored.split.has_groups, ignored.split.straddling) == ((), True, 0)


def test_label_facts_count_all_images_and_those_of_test():
    dropped = ["", "dropped in corrections.csv", "torn", "", "dropped in corrections.csv (by ann)", ""]
    index = index_of(label=["dog", "cat", "dog", "cat", "cat", "dog"], error=dropped)
    drawn = splits_of()["split"]
    splits = splits_of(split=["train", "", "val", "val", "", "test"], drawn=drawn)
    as_given = {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}
    facts = facts_of(run_of(["cat", "dog"], test_as_given=as_given), index, splits)
    assert facts.labels == LabelFacts(2, 2, 1, 1, Interval(0.7, 0.6, 0.8))
    assert facts.split.sizes == {"train": 1, "val": 2, "test": 1}


def test_choices_are_those_of_the_run():
    on = {"images": 1832, "folds": 5, "repeats": 1}
    choices = {"C": 0.1, "tried": [{}] * 7, "chosen_on": on, "heads": [{}] * 24}
    run = run_of(["cat", "dog"], choices=choices, best_epoch=3, epochs=5)
    assert facts_of(run, index_of(), splits_of()).choices == ChoiceFacts(
        ("the head, out of 24", "the epoch (3 of 5)"),
        1,
        "probe",
        ("the regularisation of the head (C = 0.1; 7 tried in 5 folds of 1,832 training images)",),
    )


def test_a_refitted_model_says_on_what_and_how_far_it_agrees_with_the_measured_one(tmp_path: Path):
    refit = RefitFacts(images=2618, images_before=1832, test_images=524, test_agreed=521)
    text = " ".join(card_of(tmp_path, replace(FACTS, refit=refit)).text.split())
    assert "The figures are of the model that was fitted on 1,832 images." in text
    assert "fitted once more, with what had been chosen, on 2,618 images" in text
    assert "agree on 99.4% of the 524 test images" in text
    assert "once more" not in card_of(tmp_path, FACTS).text


def test_choices_within_train_are_not_said_to_be_made_on_validation():
    words = choice_sentences("a", ChoiceFacts(made=(), rivals=0, best="a", within_train=("the regularisation",)))
    assert words.startswith("Chosen within the training images: the regularisation.")
    assert "on validation" not in words


def test_the_card_of_given_splits_with_copies_and_corrections(tmp_path: Path) -> None:
    data = tmp_path / "photos"
    for split, each in (("train", 8), ("val", 4), ("test", 4)):
        for kind, name in enumerate(("bar", "disc")):
            (data / split / name).mkdir(parents=True)
            for number in range(each):
                seed = {"train": 0, "val": 100, "test": 200}[split] + number
                draw_shape(kind, seed=seed).save(data / split / name / f"{number}.png")
    draw_shape(0, seed=0).save(data / "test" / "bar" / "copy.png")
    config = tmp_path / "study.toml"
    config.write_text(
        '[audit]\nenabled = false\n[split]\ngroup_duplicates = "exact"\n'
        '[models.cnn]\nbackbone = "simple_cnn"\ntrainable = "all"\nepochs = 1\npixels = { size_px = 24 }\n'
    )
    study = Study.create(data, tmp_path / "study", config=config)
    index = study.index()
    paths = dict(zip(index["path"], index["image_id"], strict=True))
    changed = [("test/bar/1.png", "relabel", "disc"), ("train/disc/1.png", "drop", "")]
    write_corrections(study.path, [Correction(paths[path], path, action, label) for path, action, label in changed])
    study.run()
    card = ModelCard.load(study.path / "model" / "README.md")
    assert "The splits came with the data. 1 set of copies is in more than one split" in card.text
    assert (
        "Corrections: 1 image was relabelled and 1 was dropped. Of the test images, 1 image was relabelled."
        in card.text
    )
    assert "15 images for training, 8 for validation, 9 for test." in card.text
    as_given = study.read_run("cnn").figures["test_as_given"]["accuracy"]
    assert f"test accuracy is {as_given['value']:.4f} [{as_given['low']:.4f}" in card.text
    assert "none was corrected" not in card.text
    assert "are in one split" not in card.text
