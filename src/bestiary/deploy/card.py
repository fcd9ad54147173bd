"""The model card: what an exported model is, for people and for the Hugging Face hub.

In: `CardFacts`. Out: `README.md` of the bundle, with front matter that the hub reads. No torch. Every sentence follows
from a fact; where the facts differ, so does the sentence.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bestiary.config.model_schema import MODULES
from bestiary.deploy.bundle import input_names
from bestiary.deploy.card_facts import (
    CardFacts,
    CardFigure,
    ChoiceFacts,
    LabelFacts,
    NetworkFacts,
    RefitFacts,
    SplitFacts,
)
from bestiary.evaluate.intervals import Interval
from bestiary.plurals import counted
from bestiary.store.files import write_text

_SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}
_HUB_METRICS = (("accuracy", "accuracy"), ("f1", "macro_f1"))


def write_card(path: Path, facts: CardFacts) -> None:
    """Write the card."""
    write_text(path, f"---\n{_front_matter(facts)}\n---\n\n{_body(facts)}")


def _front_matter(facts: CardFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    figures = {figure.name: figure for figure in facts.figures}
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name=facts.data_name,
            dataset_split="test",
            metric_type=metric,
            metric_name=figures[name].title,
            metric_value=round(figures[name].test.value, 4),
        )
        for metric, name in _HUB_METRICS
    ]
    card = ModelCardData(
        model_name=facts.model,
        library_name="bestiary",
        pipeline_tag="image-classification",
        tags=["image-classification", "bestiary", "timm", "onnx"],
        metrics=[metric for metric, _ in _HUB_METRICS],
        base_model=_base_model(facts),
        eval_results=results,
    )
    return str(card.to_yaml())


def _body(facts: CardFacts) -> str:
    classes = ", ".join(f"`{_plain(name)}`" for name in facts.class_names)
    count = len(facts.class_names)
    return f"""# {_plain(facts.model)}

An image classifier for {count} classes: {classes}.

{_networks(facts.networks)}; \
{facts.parameters:,} parameters, {facts.parameters_trained:,} of them trained. \
Made with bestiary {facts.bestiary_version}.

## Data

`{_plain(facts.data_name)}`: {_sizes(facts.split)}

{split_sentences(facts.split)}

{label_sentences(facts.labels)}

## Figures

95 % intervals in brackets. {choice_sentences(facts.model, facts.choices)}

The test split was first scored at {facts.test_first_scored_at}, after the weights were fixed.\
{_refit_sentences(facts.refit)}{_fold_sentences(facts)}

| | validation | test |
|---|---|---|
{_rows(facts.figures)}

{_weakest_sentence(facts)}

## Use

```
bestiary predict PATH/TO/THIS/FOLDER photos/ --out predictions.csv
```

`model.onnx` runs in any ONNX runtime. \
{_input_sentences(facts.geometries)} \
Output `probabilities`: `(n, {count})`, in the order of the classes above. \
Normalisation is inside.

## Limits

{_limits(facts)}
"""


def _networks(networks: Sequence[NetworkFacts]) -> str:
    """What it is made of: one network, or the members of an ensemble with their shares."""
    if len(networks) == 1:
        return _network(networks[0])
    members = "; ".join(f"{one.share:.0%} of {_plain(one.model)}: {_network(one)}" for one in networks)
    return f"An ensemble, the probabilities of its members weighted and added ({members})"


def _network(network: NetworkFacts) -> str:
    backbones = " and ".join(f"`{name}`" for name in network.backbones)
    joined = ", joined" if len(network.backbones) > 1 else ""
    weights = _plain(Path(network.weights).name)
    return f"{backbones}{joined}, weights `{weights}`, trainable: {_trained(network.trainable)}"


def _trained(trainable: str) -> str:
    """What was trained of the backbone; an expression in a code span, since it is full of Markdown's signs."""
    if trainable.startswith(MODULES):
        return f"modules that match `{_plain(trainable.removeprefix(MODULES))}`"
    return trainable


def _refit_sentences(refit: RefitFacts | None) -> str:
    """That the weights are not those that were measured; empty where they are."""
    if refit is None:
        return ""
    share = refit.test_agreed / max(refit.test_images, 1)
    return (
        f"\n\nThe figures are of the model that was fitted on {counted(refit.images_before, 'image')}. The weights "
        f"here were then fitted once more, with what had been chosen, on {counted(refit.images, 'image')}; no image "
        f"was left to measure them on. The two agree on {share:.1%} of the {counted(refit.test_images, 'test image')}."
    )


def _fold_sentences(facts: CardFacts) -> str:
    """What a cross-validation says of the model; empty where there was none."""
    folds = facts.folds
    if folds is None:
        return ""
    whose = "The table is" if facts.refit else "The weights here are those of the first fold; the table is"
    text = (
        f"\n\nOver {folds.folds} folds, {counted(folds.images, 'image')} were tested once each, by a model that was "
        f"neither fitted nor chosen on them: test accuracy {_interval(folds.accuracy)}. {whose} of the "
        "first fold alone."
    )
    if folds.chosen:
        text += f" Where each fold chose its own model, test accuracy was {_interval(folds.chosen)}."
    return text


def _sizes(split: SplitFacts) -> str:
    sizes = split.sizes
    return (
        f"{counted(sizes['train'], 'image')} for training, {sizes['val']:,} for validation, {sizes['test']:,} for test."
    )


def split_sentences(split: SplitFacts) -> str:
    """Where the splits come from, and whether images that belong together are in one of them."""
    given = [_SPLIT_WORDS[name] for name in split.given if name != "train"]
    drawn = [word for name, word in _SPLIT_WORDS.items() if name != "train" and name not in split.given]
    if not given:
        source = f"The splits were drawn at random within each class, with seed {split.seed}."
    elif drawn:
        source = (
            f"The {_listed(given)} split came with the data; the {_listed(drawn)} split was drawn at random from the "
            f"other images, with seed {split.seed}."
        )
    else:
        source = "The splits came with the data."
    return f"{source} {_copies_sentence(split)}"


def _copies_sentence(split: SplitFacts) -> str:
    if split.straddling:
        kind = "images that belong together (copies, or one group)" if split.has_groups else "copies"
        verb = "is" if split.straddling == 1 else "are"
        which = "test" if split.straddling_test else "validation"
        sets = f"{counted(split.straddling, 'set')} of {kind}"
        text = f"{sets} {verb} in more than one split: the {which} figures may be too high."
        if split.leak_free:
            text += (
                f" Without the {counted(split.leaked, 'test image')} concerned, test accuracy is "
                f"{_interval(split.leak_free)}."
            )
        return text
    groups = "; so are the images of one group" if split.has_groups else ""
    if split.together == "near":
        return f"All copies that were found, exact and near, are in one split{groups}."
    return f"Exact copies of an image are in one split{groups}. Near copies may be in several."


def label_sentences(labels: LabelFacts) -> str:
    """Whether corrections changed labels, and what that means for the figures."""
    if not (labels.relabelled or labels.dropped):
        return "The labels are those that came with the data; none was corrected."
    text = f"Corrections: {_changes(labels.relabelled, labels.dropped)}. "
    if not (labels.test_relabelled or labels.test_dropped):
        return text + "None of them is a test image."
    text += f"Of the test images, {_changes(labels.test_relabelled, labels.test_dropped)}. "
    text += "The figures below are for the corrected labels."
    if labels.test_as_given:
        text += f" On the labels that came with the data, test accuracy is {_interval(labels.test_as_given)}."
    return text


def _changes(relabelled: int, dropped: int) -> str:
    parts = [(relabelled, "relabelled"), (dropped, "dropped")]
    return " and ".join(
        f"{counted(count, 'image') if number == 0 else f'{count:,}'} {'was' if count == 1 else 'were'} {word}"
        for number, (count, word) in enumerate([part for part in parts if part[0]])
    )


def choice_sentences(model: str, choices: ChoiceFacts) -> str:
    """What was chosen within train and on validation, and how this model was chosen."""
    made = f"Chosen within the training images: {_listed(choices.within_train)}. " if choices.within_train else ""
    made += f"Chosen on validation: {_listed(choices.made)}. " if choices.made else ""
    if choices.best != model:
        other = f"; the best on validation is `{_plain(choices.best)}`" if choices.best else ""
        return f"{made}The model itself was named by its user{other}."
    if not choices.rivals:
        return f"{made}No other model was trained."
    rivals = counted(choices.rivals + 1, "model")
    return f"{made}Of {rivals}, this one has the best validation accuracy."


def _rows(figures: Sequence[CardFigure]) -> str:
    return "\n".join(f"| {figure.title} | {_interval(figure.val)} | {_interval(figure.test)} |" for figure in figures)


def _weakest_sentence(facts: CardFacts) -> str:
    weakest = facts.weakest
    if weakest is None:
        return "No class has a test image."
    if weakest.f1 >= 1:
        return "No test image was misclassified."
    images = counted(weakest.support, "image")
    return f"Weakest class on test: `{_plain(weakest.class_name)}`, F1 {weakest.f1:.3f} on {images}."


def _limits(facts: CardFacts) -> str:
    limits = [
        "It knows these classes only, and gives one of them to any picture, whatever it shows.",
        "The figures hold for images like those of the data set. On photographs from another source they may be lower.",
    ]
    if facts.split.straddling_test:
        limits.append("Copies of test images are in another split: on new images the figures may be lower.")
    if facts.labels.relabelled or facts.labels.dropped:
        limits.append("Labels that nobody corrected were taken as they are. Wrong ones in test change the figures.")
    else:
        limits.append("Labels were taken as they came. Wrong ones in test change the figures.")
    limits.append(
        "Each member was brought to its best temperature on validation; their mixture has not been calibrated."
        if len(facts.networks) > 1
        else "A probability is the model's own; it has not been calibrated."
    )
    return "\n".join(f"- {limit}" for limit in limits)


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _interval(interval: Interval) -> str:
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def _base_model(facts: CardFacts) -> str | list[str] | None:
    """What the hub calls the weights; None where they are not the hub's."""
    from_hub = [one for one in facts.networks if one.weights in ("hub", "auto")]
    named = dict.fromkeys(f"timm/{name}" for one in from_hub for name in one.backbones if "." in name)
    found = list(named)
    return found[0] if len(found) == 1 else found or None


def _input_sentences(geometries: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(
        f"Input `{name}`: `(n, {geometry['size_px']}, {geometry['size_px']}, 3)` uint8, RGB, "
        f"{_geometry_words(geometry)}."
        for name, geometry in zip(input_names(len(geometries)), geometries, strict=True)
    )


def _geometry_words(geometry: Mapping[str, Any]) -> str:
    how = {
        "crop": f"centre crop of {geometry['crop_fraction']:g} of the short side",
        "squash": "squashed to the square",
        "pad": "padded to the square with grey 127",
    }[geometry["fit"]]
    return f"{how}, {geometry['interpolation']} resampling (Pillow, antialiased)"


def _plain(text: str) -> str:
    """A name that cannot break out of its code span or its line."""
    return " ".join(text.replace("`", "'").split())
