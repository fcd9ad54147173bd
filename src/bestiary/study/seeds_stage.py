"""Seeds as a stage of a study: what is cheap is fitted with several, to see how much of a figure is luck.

In: a study at work. Out: `runs/<model>/seeds/<number>/`, through `runs.fit`.

The model itself has the first seed; the others choose nothing, and are neither ranked nor exported. Features are
cached, so a seed costs a fit of the head. What the seed decides: a head's first weights, the order of images and
dropout; of a linear probe, the folds in which its strength is chosen.
"""

from collections.abc import Iterator
from typing import cast

from bestiary.config.schema import StudyConfig
from bestiary.config.values import FrozenDict
from bestiary.runs.evaluation import lacking
from bestiary.runs.keys import fit_keys
from bestiary.runs.record import logits_digest, read_scored_ids
from bestiary.store.hashing import fingerprint
from bestiary.study.run_stage import digests_of_weights, images_to_fit, is_due
from bestiary.study.seed_runs import is_cheap, seed_folder
from bestiary.study.work import Work


def seeds_key(work: Work) -> str:
    """Of the logits of all further seeds; "" where none are asked for."""
    if work.snapshot.config.train.seeds == 1:
        return ""
    folders = [seed_folder(work.paths, name, number) for name, number, _ in _asked(work)]
    return fingerprint([_keys(work), [logits_digest(folder) for folder in folders]])


def has_seeds(work: Work, key: str) -> bool:
    """Whether every cheap model is fitted with every seed, on these images with these settings."""
    return not any(_is_due(work, name, number, wanted) for name, number, wanted in _asked(work))


def make_seeds(work: Work, key: str) -> None:
    """Fit what is due."""
    from bestiary.runs.fit import fit_model

    snapshot = work.snapshot
    for name, number, wanted in _asked(work):
        if not _is_due(work, name, number, wanted):
            continue
        work.progress.say(f"  {name}, seed {number + 1} of {snapshot.config.train.seeds}")
        fit_model(
            seed_folder(work.paths, name, number),
            _with_seed(snapshot.config, number),
            images_to_fit(work),
            root=snapshot.data_root,
            key=wanted,
            name=name,
            weights_sha256=digests_of_weights(work)[name],
            progress=work.progress,
        )
    # Its key holds what was just written.
    work.forget("seeds")


def _with_seed(config: StudyConfig, number: int) -> StudyConfig:
    """The study's config with other seeds; the models keep their names."""
    models = {
        name: model if model.kind.is_composed else model.model_copy(update={"seed": model.seed + number})
        for name, model in config.models.items()
    }
    return config.model_copy(update={"models": FrozenDict(models)})


def _keys(work: Work) -> dict[int, dict[str, str]]:
    """By number and model: what the weights depend on."""

    def compute() -> dict[int, dict[str, str]]:
        config, images, digests = work.snapshot.config, images_to_fit(work), digests_of_weights(work)
        return {
            number: fit_keys(_with_seed(config, number), images, digests=digests)
            for number in range(1, config.train.seeds)
        }

    return cast(dict[int, dict[str, str]], work.remember("seed keys", compute))


def _asked(work: Work) -> Iterator[tuple[str, int, str]]:
    """Model, number and key of every further fit that the study asks for."""
    config = work.snapshot.config
    for number, keys in _keys(work).items():
        for name in config.models:
            if is_cheap(config, name) and work.snapshot.run(name).done:
                yield name, number, keys[name]


def _is_due(work: Work, name: str, number: int, wanted: str) -> bool:
    folder = seed_folder(work.paths, name, number)
    return is_due(folder, wanted) or len(lacking(read_scored_ids(folder), work.snapshot.images)) > 0
