"""A library is a guest: what the process around it had set, it has afterwards."""

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bestiary.models.augment import View
from bestiary.models.backbones import build_backbone, rebuild_backbone
from bestiary.models.classifier import Classifier
from bestiary.models.devices import one_thread, seeded
from bestiary.models.extract.activations import ActivationStores
from bestiary.models.extract.features import feature_table
from bestiary.models.heads import Head
from bestiary.models.linear_probe import fit_linear_probe
from bestiary.models.partial.boundary import cut
from bestiary.models.sweep import Matrix, fit_heads, propose_heads
from bestiary.models.training.batches import ActivationSource, FeatureSource, PixelSource
from bestiary.models.training.loop import Loop, fit
from bestiary.store.files import write_text
from bestiary.telemetry import import_openvino, telemetry_off
from tests.models.small_models import CPU, model, photos, table

LABELS = np.arange(24, dtype=np.int64) % 3

SNAPSHOT = """
import json, os, random, sys, warnings

def snapshot():
    found = {
        "warnings": repr(warnings.filters),
        "environment": {name: hash(value) for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "modules": sorted(name for name, module in sys.modules.items() if module is None),
        "random": hash(random.getstate()),
    }
    if "numpy" in sys.modules:
        found["numpy"] = repr(sys.modules["numpy"].random.get_state())
        found["numpy errors"] = sys.modules["numpy"].geterr()
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        found["torch"] = torch.get_rng_state().tolist()
        found["threads"] = torch.get_num_threads()
        found["torch settings"] = [
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(), str(torch.get_default_dtype()),
            torch.are_deterministic_algorithms_enabled(), torch.backends.mkldnn.enabled,
        ]
    if "matplotlib" in sys.modules:
        found["matplotlib"] = repr(dict(sys.modules["matplotlib"].rcParams))
    return found
"""
_HERE: dict[str, Any] = {}
exec(SNAPSHOT, _HERE)  # noqa: S102  one text for this process and for others
snapshot: Callable[[], dict[str, Any]] = _HERE["snapshot"]

# What importing these does to the process is theirs.
OTHERS = (
    "torch torchvision timm numpy pandas pyarrow.parquet scipy.stats sklearn.linear_model statsmodels.api PIL.Image "
    "matplotlib.figure cleanlab.filter cleanvision imagehash jinja2 joblib joblib.externals.loky onnx rich.progress "
    "pydantic safetensors.torch typer huggingface_hub filelock platformdirs tomli_w threadpoolctl"
)


def python(code: str, **environment: str) -> Any:
    """What a fresh process prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", SNAPSHOT + code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def unchanged() -> Any:
    """Fails where the test has changed anything of the process."""
    importlib.import_module("sklearn.linear_model")  # which filters warnings of scipy's
    torch.rand(3)
    before, handler = snapshot(), signal.getsignal(signal.SIGINT)
    yield
    after = snapshot()
    assert {name: after[name] for name in before} == before
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_snapshot_sees_changes() -> None:
    """Each of them, so that the tests below can fail."""
    changes: dict[str, Callable[[], object]] = {
        "random": random.random,
        "numpy": np.random.rand,
        "torch": lambda: torch.rand(1),
        "modules": lambda: sys.modules.update({"bestiary_nothing": None}),
        "environment": lambda: os.environ.update({"BESTIARY_NOTHING": "1"}),
        "warnings": lambda: warnings.simplefilter("ignore"),
    }
    with warnings.catch_warnings():
        for name, change in changes.items():
            before = snapshot()
            change()
            after = snapshot()
            assert {key for key in before if before[key] != after[key]} == {name}
    del sys.modules["bestiary_nothing"], os.environ["BESTIARY_NOTHING"]


def test_importing_bestiary_changes_nothing_and_imports_nothing_heavy() -> None:
    code = "before = snapshot(); import bestiary; print(json.dumps([before, snapshot(), 'numpy' in sys.modules]))"
    before, after, heavy = python(code)
    assert before == after
    assert not heavy


@pytest.fixture(scope="module")
def before_and_after_all_imports() -> Any:
    return python(
        f"import importlib\nfor name in {OTHERS!r}.split(): importlib.import_module(name)\n"
        "from bestiary.telemetry import import_openvino\nimport_openvino()\n"
        "before = snapshot()\n"
        "import bestiary, pkgutil\n"
        "for name in bestiary.__all__: getattr(bestiary, name)\n"
        "for module in pkgutil.walk_packages(bestiary.__path__, 'bestiary.'):\n"
        "    module.name.endswith('__main__') or importlib.import_module(module.name)\n"
        "print(json.dumps([before, snapshot()]))"
    )


ASPECTS = [
    "environment",
    "modules",
    "random",
    "numpy",
    "numpy errors",
    "torch",
    "torch settings",
    "threads",
    "matplotlib",
]


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.slow
def test_importing_every_module_changes_nothing(before_and_after_all_imports: Any, aspect: str) -> None:
    before, after = before_and_after_all_imports
    assert before[aspect] == after[aspect]


def test_importing_every_module_filters_no_warnings(before_and_after_all_imports: Any) -> None:
    before, after = before_and_after_all_imports
    assert before["warnings"] == after["warnings"]


@pytest.mark.usefixtures("unchanged", "own_cache")
@pytest.mark.parametrize("trainable", ["all", "last:1 stage"])
def test_training_a_network_changes_nothing(trainable: str, tmp_path: Path) -> None:
    config = model(
        pixels={"size_px": 24}, trainable=trainable, epochs=2, batch_size=8, head={"hidden": 8, "dropout": 0.5},
        augment={"flip": True, "rotation_degrees": 10},
    )  # fmt: skip
    backbone = build_backbone(config)
    rebuild_backbone(config, backbone.preprocessing)
    with seeded(config.seed):
        head = Head(backbone.feature_count, 3, hidden=8, dropout=0.5)
    classifier, pixels = Classifier(backbone, head), table(photos(24, 24))
    classifier.freeze_all_but(config.trainable_stages)
    source: Any = PixelSource(pixels, LABELS, backbone=backbone, changes=config.augment)
    loop = Loop(classifier, classifier.classify, classifier.train_mode)
    if trainable != "all":
        halves = cut(backbone)
        views = [View(), View(1, flip=True), View(2, rotation_degrees=10)]
        source = ActivationSource(
            ActivationStores(backbone, halves, views=views, precision="fp32", device=CPU).table(pixels), LABELS
        )
        loop = Loop(classifier, lambda values: head(halves.tail(values)), classifier.train_mode)
    fit(loop, source, source, config=config, device=CPU, precision="fp32", checkpoint=tmp_path / "checkpoint")


@pytest.mark.usefixtures("unchanged", "own_cache")
def test_fitting_heads_changes_nothing() -> None:
    config = model(
        pixels={"size_px": 24}, epochs=2, batch_size=8, head={"hidden": 8, "dropout": 0.5},
        sweep={"configurations": 4},
    )  # fmt: skip
    features = feature_table(build_backbone(config), table(photos(24, 24)), precision="fp32")
    groups = np.arange(len(LABELS))
    fit_linear_probe(features.views, LABELS, groups, class_count=3)
    matrix = Matrix(features.views, LABELS, features.plain, LABELS, 3, groups)
    fit_heads(propose_heads(config), matrix, workers=1)
    source = FeatureSource(features, LABELS)
    with seeded(3):
        head = Head(features.plain.shape[1], 3, hidden=8, dropout=0.5)
    fit(Loop(head, head, head.train), source, source, config=config, device=CPU, precision="fp32")


@pytest.mark.slow
@pytest.mark.usefixtures("unchanged")
def test_other_processes_that_fit_heads_change_nothing() -> None:
    features = np.random.default_rng(0).normal(0, 1, (24, 6)).astype(np.float32)
    matrix = Matrix((features,), LABELS, features, LABELS, 3, np.arange(len(LABELS)))
    fit_heads(propose_heads(model(epochs=2, sweep={"configurations": 6})), matrix, workers=2)


def test_numbers_are_drawn_from_the_seed_alone_and_the_callers_go_on() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        expected = torch.rand(4)
        torch.manual_seed(7)
        first = torch.rand(2)
        with seeded(3):
            ours = torch.rand(5)
        assert torch.equal(torch.cat([first, torch.rand(2)]), expected)
        torch.manual_seed(3)
        assert torch.equal(torch.rand(5), ours)


@pytest.mark.usefixtures("unchanged")
def test_an_error_inside_leaves_seed_and_threads_as_they_were() -> None:
    def fail() -> None:
        with seeded(3), one_thread():
            assert torch.get_num_threads() == 1
            torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()


@pytest.mark.parametrize("imported", ["", "import openvino_telemetry; "])
def test_openvino_is_imported_without_its_reports_and_its_reporter_stays_as_it_was(imported: str) -> None:
    code = (
        f"import json, sys; {imported}before = sys.modules.get('openvino_telemetry')\n"
        "from bestiary.telemetry import import_openvino\nimport_openvino()\n"
        "from openvino.tools.ovc import convert_impl, telemetry_utils, utils\n"
        "stubs = [module.tm.__name__ for module in (convert_impl, telemetry_utils, utils)]\n"
        "same = sys.modules.get('openvino_telemetry') is before\n"
        "import openvino_telemetry\n"
        "print(json.dumps([stubs, same, openvino_telemetry.Telemetry.__name__]))"
    )
    pytest.importorskip("openvino.tools.ovc.telemetry_stub")
    pytest.importorskip("openvino_telemetry")
    assert python(code) == [["openvino.tools.ovc.telemetry_stub"] * 3, True, "Telemetry"]


def test_openvino_of_the_caller_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = import_openvino()
    monkeypatch.setattr("bestiary.telemetry.telemetry_off", lambda: pytest.fail("switched off"))
    assert import_openvino() is theirs


@pytest.mark.slow
def test_the_hub_s_library_is_imported_with_telemetry_off_and_the_switches_are_not_left_set() -> None:
    code = (
        "switches = {'HF_HUB_DISABLE_TELEMETRY', 'DO_NOT_TRACK'}\n"
        "for name in switches: os.environ.pop(name, None)\n"
        "import bestiary.models.backbones, huggingface_hub.constants as hub\n"
        "print(json.dumps([hub.HF_HUB_DISABLE_TELEMETRY, sorted(switches & set(os.environ))]))"
    )
    assert python(code) == [True, []]


def test_a_switch_that_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    with telemetry_off():
        assert os.environ["DO_NOT_TRACK"] == "0"
        assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ["DO_NOT_TRACK"] == "0"
    assert "HF_HUB_DISABLE_TELEMETRY" not in os.environ


@pytest.mark.usefixtures("unchanged")
def test_threads_that_import_at_once_restore_what_was() -> None:
    """Without a lock, the last to leave would put back what another had changed."""
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with telemetry_off():
            inside.set()
            leave.wait(30)

    def second() -> None:
        inside.wait(30)
        threading.Timer(0.2, leave.set).start()
        with telemetry_off():
            assert leave.is_set()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("unchanged")
def test_an_error_while_importing_leaves_everything_as_it_was() -> None:
    with pytest.raises(ImportError), telemetry_off():
        import openvino_telemetry  # noqa: F401


def test_files_are_written_without_touching_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the process: between reading and restoring it, another thread's files would be open to all."""
    mask = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda _: pytest.fail("touched"))
        write_text(tmp_path / "a.txt", "a")
    finally:
        monkeypatch.undo()
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
