"""The search: proposals that history alone decides, trials that survive a kill, heads judged out of fold."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from bestiary.config.schema import SearchConfig
from bestiary.errors import BestiaryError, TrainingError
from bestiary.evaluate.grouped_folds import grouped_folds
from bestiary.runs.search import judging, searching
from bestiary.runs.search.judging import Blocks, block_name, judge
from bestiary.runs.search.searching import best_heads, run_search
from bestiary.runs.search.space import distributions, first_proposals, model_of
from bestiary.runs.search.trials import Judged, TrialStore, proposals

NAMES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1")


def space(**changes) -> SearchConfig:
    return SearchConfig.model_validate({"backbones": NAMES, "trials": 12, "hidden": (0, 8), **changes})


def made_blocks(*, count: int = 90, seed: int = 0) -> Blocks:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    groups = np.arange(count)
    folds = np.zeros(count, dtype=np.int64)
    for number, (_, held_out) in enumerate(grouped_folds(labels, groups, folds=5, seed=0)):
        folds[held_out] = number
    features = {
        block_name(name, 1.0, flip=False): random.normal(0, 1, (count, 6)).astype(np.float32)
        + np.eye(3, 6, dtype=np.float32)[labels] * strength
        for name, strength in zip(NAMES, (1.0, 2.0), strict=True)
    }
    return Blocks(features, labels, groups, folds, 3)


def made_loss(model, blocks, *, bar):
    """A loss that follows from the config alone, and some that are pruned or fail."""
    key = int(np.frombuffer(model.model_dump_json().encode()[-64:], dtype=np.uint8).astype(np.int64).sum())
    loss = key % 97 / 97 + (0.1 if model.backbones else 0.2)
    if key % 11 == 0:
        return Judged(np.inf, np.inf, 0.0, 0.01, error="diverged")
    first = loss * 0.9
    if model.head.hidden and first > bar:
        return Judged(first, first, 0.5, 0.01, pruned=True)
    return Judged(loss, first, 1 - loss / 2, 0.01)


def ranking(store: TrialStore, search: SearchConfig) -> list[tuple[str, float]]:
    return [(head.model.model_dump_json(), head.loss) for head in best_heads(store.finished(), search)]


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "default_process_count", lambda: 1)


def test_the_first_proposals_are_probes_on_every_join_the_widest_first():
    search = space()
    found = [model_of(params, seed=0) for params in first_proposals(search)]
    assert [" + ".join(member.backbone for member in model.members) for model in found] == [
        " + ".join(NAMES), NAMES[1], NAMES[0],
    ]  # fmt: skip
    assert {model.optimizer.name for model in found} == {"lbfgs"}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**16))
def test_proposals_follow_from_history_and_seed_alone_and_never_repeat(seed):
    search = space(seed=seed)
    history: list = []
    models = []
    for _ in range(8):
        found = proposals(history, search, count=2)
        assert [model for _, model in found] == [model for _, model in proposals(list(history), search, count=2)]
        models += [model for _, model in found]
        for params, model in found:
            history.append(trial_of(params, made_loss(model, None, bar=np.inf), search))
    assert len(set(models)) == len(models)


def trial_of(params, judged, search):
    from optuna.trial import create_trial

    return create_trial(
        state=TrialState.FAIL if judged.error else TrialState.COMPLETE,
        params=params, distributions=distributions(search), value=None if judged.error else judged.loss,
        user_attrs={"error": judged.error, "first_loss": judged.first_loss, "accuracy": 0.5, "seconds": 0.0},
    )  # fmt: skip


@pytest.mark.usefixtures("one_process")
def test_where_the_best_heads_are_all_tried_it_goes_on_with_others(tmp_path, monkeypatch):
    """A probe on each of few joins is best by far: what is left are heads with a hidden layer."""

    def loss(model, blocks, *, bar):
        return Judged(0.5 if model.head.hidden else 0.1, np.nan, 0.9, 0.01)

    monkeypatch.setattr(searching, "judge", loss)
    store, search = TrialStore(tmp_path / "j", "", key="k"), SearchConfig(trials=150)
    run_search(made_blocks(), search, store, deadline=None)
    assert len(store.finished()) == 150


@pytest.mark.usefixtures("one_process")
def test_a_space_that_is_used_up_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "judge", made_loss)
    search = space(hidden=(0,), trials=100)
    store = TrialStore(tmp_path / "j", "", key="k")
    run_search(made_blocks(), search, store, deadline=None)
    assert len(store.finished()) == 3, "two backbones and their join"


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 7, 11])
def test_a_search_that_was_stopped_anywhere_ends_as_one_that_was_not(tmp_path, monkeypatch, stop):
    search = space()
    monkeypatch.setattr(searching, "judge", made_loss)
    whole = TrialStore(tmp_path / "whole", "", key="k")
    run_search(made_blocks(), search, whole, deadline=None)

    class Killed(BaseException):
        pass

    calls = iter(range(1000))

    def stops(model, blocks, *, bar):
        if next(calls) == stop:
            raise Killed
        return made_loss(model, blocks, bar=bar)

    monkeypatch.setattr(searching, "judge", stops)
    with pytest.raises(Killed):
        run_search(made_blocks(), search, TrialStore(tmp_path / "cut", "", key="k"), deadline=None)
    monkeypatch.setattr(searching, "judge", made_loss)
    cut = TrialStore(tmp_path / "cut", "", key="k")
    run_search(made_blocks(), search, cut, deadline=None)
    assert ranking(cut, search) == ranking(whole, search)
    assert [trial.params for trial in cut.finished()] == [trial.params for trial in whole.finished()]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("stored", [1, 3, 6, 7])
def test_a_kill_between_the_two_of_a_batch_changes_nothing(tmp_path, monkeypatch, stored):
    monkeypatch.setattr(searching, "judge", made_loss)
    search = space()
    whole = TrialStore(tmp_path / "whole", "", key="k")
    run_search(made_blocks(), search, whole, deadline=None)

    class Killed(BaseException):
        pass

    class Cut(TrialStore):
        def add(self, *arguments):
            if len(self.finished()) == stored:
                raise Killed
            super().add(*arguments)

    with pytest.raises(Killed):
        run_search(made_blocks(), search, Cut(tmp_path / "cut", "", key="k"), deadline=None)
    cut = TrialStore(tmp_path / "cut", "", key="k")
    assert len(cut.finished()) == stored
    run_search(made_blocks(), search, cut, deadline=None)
    assert [trial.params for trial in cut.finished()] == [trial.params for trial in whole.finished()]


@pytest.mark.usefixtures("one_process")
def test_a_longer_search_begins_with_the_heads_of_a_shorter_one(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "judge", made_loss)
    store = TrialStore(tmp_path / "j", "", key="k")
    run_search(made_blocks(), space(trials=6), store, deadline=None)
    before = [trial.params for trial in store.finished()]
    run_search(made_blocks(), space(trials=12), store, deadline=None)
    assert [trial.params for trial in store.finished()][:6] == before
    assert len(store.finished()) == 12


@pytest.mark.usefixtures("one_process")
def test_a_trial_that_fails_is_recorded_with_its_reason_and_the_search_goes_on(tmp_path, monkeypatch):
    def fails_once(model, *args, **kwargs):
        if model.head.hidden:
            raise TrainingError("the loss is no number")
        return Judged(0.3, np.nan, 0.9, 0.0)

    monkeypatch.setattr(judging, "_judge_trained", fails_once)
    monkeypatch.setattr(judging, "_judge_probe", fails_once)
    store = TrialStore(tmp_path / "j", "", key="k")
    run_search(made_blocks(), space(trials=8), store, deadline=None)
    errors = [trial.user_attrs["error"] for trial in store.finished()]
    assert len(errors) == 8
    assert errors.count("") == 3
    assert set(errors) == {"", "the loss is no number"}


@pytest.mark.usefixtures("one_process")
def test_nothing_is_begun_that_would_end_after_the_deadline(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "judge", made_loss)
    store = TrialStore(tmp_path / "j", "", key="k")
    run_search(made_blocks(), space(trials=0), store, deadline=0.0)
    assert store.finished() == []


def test_a_probe_is_judged_as_scikit_learn_would():
    blocks, model = made_blocks(count=1200), model_of(first_proposals(space())[0], seed=0)
    found = judge(model, blocks, bar=np.inf)
    features = np.concatenate([blocks.features[block_name(name, 1.0, flip=False)] for name in NAMES], axis=1)
    right = np.zeros(1200, dtype=bool)
    for fitted, held_out in grouped_folds(blocks.labels, blocks.groups, folds=5, seed=0):
        probe = LogisticRegression(C=0.02).fit(features[fitted], blocks.labels[fitted])
        right[held_out] = probe.predict(features[held_out]) == blocks.labels[held_out]
    assert found.accuracy == pytest.approx(right.mean(), abs=0.01)
    assert 0 < found.loss < 0.6


def trained(**changes) -> dict:
    return {
        **first_proposals(space())[0], "hidden": 8, "optimizer": "adam", "learning_rate": 0.01, "dropout": 0.0,
        "weight_decay": 1e-6, "label_smoothing": 0.0, **changes,
    }  # fmt: skip


def test_a_head_with_a_hidden_layer_learns_and_says_the_same_twice():
    blocks, model = made_blocks(count=300), model_of(trained(), seed=0)
    found, again = judge(model, blocks, bar=np.inf), judge(model, blocks, bar=np.inf)
    assert (found.loss, found.accuracy) == (again.loss, again.accuracy)
    assert found.accuracy > 0.7
    assert found.loss < np.log(3)


def test_shuffled_labels_give_chance():
    blocks = made_blocks(count=300)
    shuffled = Blocks(
        blocks.features, np.random.default_rng(1).permutation(blocks.labels), blocks.groups, blocks.folds, 3
    )
    for params in (first_proposals(space())[0], trained()):
        found = judge(model_of(params, seed=0), shuffled, bar=np.inf)
        assert found.accuracy == pytest.approx(1 / 3, abs=0.1)
        assert found.loss == pytest.approx(np.log(3), abs=0.06)


def test_a_head_is_given_up_after_its_first_fold_where_it_is_worse_than_the_bar():
    blocks, model = made_blocks(), model_of(trained(), seed=0)
    found = judge(model, blocks, bar=0.0)
    assert found.pruned
    assert found.loss == found.first_loss > 0


def test_other_images_are_another_search_in_the_same_storage(tmp_path: Path) -> None:
    one, other = (TrialStore(tmp_path / "j", "", key=key) for key in ("a", "b"))
    search = space()
    one.add(first_proposals(search)[0], distributions(search), Judged(0.2, 0.2, 0.9, 0.1))
    assert (len(one.finished()), len(other.finished())) == (1, 0)


def test_a_database_serves_as_storage(tmp_path: Path) -> None:
    url, search = f"sqlite:///{tmp_path / 'search.db'}", space()
    TrialStore(tmp_path / "unused", url, key="a").add(
        first_proposals(search)[0], distributions(search), Judged(0.2, 0.2, 0.9, 0.1)
    )
    (trial,) = TrialStore(tmp_path / "unused", url, key="a").finished()
    assert trial.value == 0.2
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all/search.db", "nonsense://x", "redis://127.0.0.1:1"])
def test_a_storage_that_does_not_answer_is_named_with_the_way_out(tmp_path: Path, url: str) -> None:
    with pytest.raises(BestiaryError, match=r"search\.storage .*Start that storage, or"):
        TrialStore(tmp_path / "j", url, key="a").finished()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbones": ()}, "at least 1"),
        ({"backbones": ("majority",)}, "no features of its own"),
        ({"backbones": (NAMES[0], NAMES[0])}, "names one twice"),
        ({"hidden": ()}, "at least 1"),
        ({"learning_rate": (0.1, 0.01)}, "lowest comes first"),
        ({"trials": -1}, "greater than or equal to 0"),
    ],
)
def test_a_space_that_names_nothing_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        space(**changes)


KILLED = """
import os, sys, time
sys.path[:0] = {paths!r}
import test_runs_search as t
from pathlib import Path
from bestiary.runs.search import searching
searching.default_process_count = lambda: 1
def slow(model, blocks, *, bar):
    time.sleep(0.02)
    return t.made_loss(model, blocks, bar=bar)
searching.judge = slow
# A child for each search, so that torch is imported once.
for journal in sys.stdin:
    child = os.fork()
    if not child:
        store = t.TrialStore(Path(journal.strip()), "", key="k")
        print(os.getpid(), flush=True)
        t.run_search(t.made_blocks(), t.space(trials=30), store, deadline=None)
        os._exit(0)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_killed_at_random_points_it_ends_with_the_same_ranking_and_winner(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "judge", made_loss)
    search = space(trials=30)
    whole = TrialStore(tmp_path / "whole", "", key="k")
    run_search(made_blocks(), search, whole, deadline=None)
    random, killed = np.random.default_rng(0), 0
    code = KILLED.format(paths=[str(Path(__file__).parent), os.getcwd()])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(30):
            journal = tmp_path / f"cut{number}"
            print(journal, file=process.stdin, flush=True)
            searching_now = int(process.stdout.readline())
            time.sleep(float(random.uniform(0, 1.0)))
            with contextlib.suppress(ProcessLookupError):  # it came to its end before
                os.kill(searching_now, signal.SIGKILL)
            assert process.stdout.readline() == "ended\n"
            store = TrialStore(journal, "", key="k")
            killed += len(store.finished()) < search.trials
            run_search(made_blocks(), search, store, deadline=None)
            assert ranking(store, search) == ranking(whole, search), number
        process.stdin.close()
    assert killed > 20, "a search that has ended cannot be cut off"


def test_the_journal_holds_plain_json_lines(tmp_path: Path) -> None:
    search = space()
    store = TrialStore(tmp_path / "j", "", key="k")
    store.add(first_proposals(search)[0], distributions(search), Judged(0.2, np.nan, 0.9, 0.1))
    assert all(isinstance(json.loads(line), dict) for line in (tmp_path / "j").read_text().splitlines())
