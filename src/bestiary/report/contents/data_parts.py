"""The images: how many, of which sizes, samples, what was left out, and how they were split.

In: a `StudyRecord`. Out: parts of the sections "The data" and "What was done". Owns no file.
"""

from dataclasses import dataclass

import pandas as pd

from bestiary.config.schema import SPLITS
from bestiary.data.index import stands_for_no_image
from bestiary.data.splits.folds import small_validation
from bestiary.report.figures import plots
from bestiary.report.parts import Part, Plot, Table, Text, draw_plot
from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import given_splits, straddling
from bestiary.report.words.wording import counted, listed, percent, quoted, whole


@dataclass(frozen=True)
class Samples(Part):
    """Images of every class, drawn at random; which fit is known only when the page is put together."""

    template = "parts/samples.html.j2"


def samples(study: StudyRecord) -> Part:
    """The grid of samples."""
    return Samples(title="Samples")


def sample_ids(study: StudyRecord, *, per_class: int) -> dict[str, list[str]]:
    """Image ids of the samples by class, the same at every writing."""
    drawn = plots.sample_images(study.index, seed=0, per_class=per_class)
    return {str(name): group["image_id"].tolist() for name, group in drawn.groupby("label", sort=True)}


def data_lead(study: StudyRecord) -> Text:
    """How many images and classes there are, what was left out, and how many files are exact copies."""
    images, dropped = study.readable, len(study.dropped)
    no_images = int(stands_for_no_image(study.unreadable).sum())
    lost = len(study.unreadable) - no_images
    counts = images["label"].value_counts()
    text = f"{counted(len(images), 'readable image')} in {counted(len(counts), 'class', 'classes')}"
    if counts.nunique() == 1 and len(counts) > 1:
        text += f", {whole(int(counts.iloc[0]))} in each"
    elif len(counts) > 1:
        largest, smallest = counts.index[0], counts.index[-1]
        text += (
            f", from {whole(int(counts.iloc[-1]))} ({quoted(str(smallest))}) to {whole(int(counts.iloc[0]))} "
            f"({quoted(str(largest))}) per class"
        )
    text += f". {counted(lost, 'file')} could not be used." if lost else ". No image was left out."
    if no_images:
        text += f" {counted(no_images, 'file')} {'is no image' if no_images == 1 else 'are no images'}: masks, files "
        text += "that accompany images or that systems leave."
    if dropped:
        text += f" {counted(dropped, 'image')} {'was' if dropped == 1 else 'were'} dropped in a review."
    return Text([f"{text} {_exact_copies(images)}"])


def _exact_copies(images: pd.DataFrame) -> str:
    """How many files have the same bytes as another, and whether such copies carry different labels."""
    sizes = images.groupby("sha256")["label"].agg(["size", "nunique"])
    copied = sizes[sizes["size"] > 1]
    if copied.empty:
        return "No file is an exact copy of another."
    text = (
        f"{counted(int(copied['size'].sum()), 'file')} are exact copies of one another: they hold "
        f"{counted(len(copied), 'picture')}."
    )
    if torn := int((copied["nunique"] > 1).sum()):
        text += f" {counted(torn, 'picture')} {'is' if torn == 1 else 'are'} in more than one class."
    return text


def class_counts_plot(study: StudyRecord) -> Plot:
    """Images per class."""
    return draw_plot(
        "counts", plots.class_counts, study.readable, alt="Images per class", caption="Readable images per class."
    )


def resolutions_plot(study: StudyRecord) -> Plot:
    """The most frequent resolutions."""
    return draw_plot(
        "resolutions",
        plots.resolutions,
        study.readable,
        alt="The most frequent resolutions",
        caption="The ten most frequent resolutions, width x height in pixels; all others in one bar.",
    )


def left_out_table(study: StudyRecord) -> Table:
    """Files that cannot be read, with the reason."""
    return _files_table(study.unreadable, title="Files left out", noun="files")


def dropped_table(study: StudyRecord) -> Table:
    """Images that a person dropped."""
    return _files_table(study.dropped, title="Images dropped", noun="images")


def _files_table(files: pd.DataFrame, *, title: str, noun: str) -> Table:
    rows = [[str(row["path"]), str(row["label"]), str(row["error"])] for row in files.to_dict("records")]
    return Table(["File", "Class", "Reason"], rows, words=frozenset({0, 1, 2}), label=title, title=title, folds=noun)


def split_lead(study: StudyRecord) -> Text:
    """How the images were split, what each split is for, and what stayed together."""
    splits, parts = study.splits, []
    if len(splits):
        parts.append(
            "Models are trained on the training images. Choices within a model are made in folds of these, or, for "
            "what is trained in epochs, on the validation images; which model is chosen is decided on the validation "
            "images. Each model is scored once on the test images, at the end, and nothing is chosen on them."
        )
        parts.append(_source(study))
        given = given_splits(study.index, splits, use_given=study.config.split.use_given)
        validated = int((splits["split"] == "val").sum())
        if advice := small_validation(validated, study.config.split, given=bool({"test", "val"} & set(given))):
            parts.append(f"{advice}.")
    sizes = splits[splits["split"] != ""].groupby("group_id").size()
    groups = sizes[sizes > 1]
    if len(groups):
        crossing = straddling(splits).groups
        where = (
            f"{whole(crossing)} of them {'is' if crossing == 1 else 'are'} in more than one split, because the splits "
            "came with the data."
            if crossing
            else "no group is in more than one split."
        )
        parts.append(
            f"{counted(int(groups.sum()), 'image')} form {counted(len(groups), 'group')} that belong together (copies, "
            f"a group of the data, or a burst): {where}"
        )
    return Text([" ".join(parts)])


def _source(study: StudyRecord) -> str:
    """Which splits came with the data, and which were drawn."""
    split = study.config.split
    if split.folds:
        return (
            f"The images were drawn into {counted(split.folds, 'fold')} of equal size, by group and within each class, "
            f"with seed {split.seed}. In each fold its images are test, those of the next fold validation, and all "
            "others training. The table is of the first fold."
        )
    given = given_splits(study.index, study.splits, use_given=split.use_given)
    fractions = {"test": ("test", split.test_fraction), "val": ("validation", split.val_fraction)}
    kept = [word for name, (word, _) in fractions.items() if name in given]
    if len(kept) == len(fractions):
        return "The splits came with the data."
    shares = listed([f"{percent(part, 0)} ({word})" for word, part in fractions.values() if word not in kept])
    drawn = f"were drawn at random, with seed {split.seed}."
    if not kept:
        return f"Of each class, {shares} {drawn}"
    return f"The {kept[0]} images came with the data. Of the others, {shares} of each class {drawn}"


def split_sizes_table(study: StudyRecord) -> Table:
    """Images by class and split."""
    joined = study.splits.merge(study.readable[["image_id", "label"]], on="image_id", how="inner")
    counts = joined.groupby(["label", "split"]).size().unstack(fill_value=0).reindex(columns=list(SPLITS), fill_value=0)
    rows = [[str(name), *(whole(int(v)) for v in row), whole(int(row.sum()))] for name, row in counts.iterrows()]
    totals = counts.sum()
    rows.append(["All", *(whole(int(v)) for v in totals), whole(int(totals.sum()))])
    return Table(
        ["Class", "Training", "Validation", "Test", "All"],
        rows if len(joined) else [],
        marked=frozenset({len(rows) - 1}),
        label="Images by class and split",
    )
