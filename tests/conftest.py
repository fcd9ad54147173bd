"""What tests of every room share: a cache of their own, small made-up photos, and where the real ones may lie."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    # Tests start dozens of commands. Without bytecode each would compile torch again, for six seconds. It is kept away
    # from the sources all the same, in a folder that the processes of one run share through the environment.
    kept_bytecode = tempfile.TemporaryDirectory(prefix="bestiary-bytecode-", ignore_cleanup_errors=True)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = kept_bytecode.name
    sys.dont_write_bytecode = False

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core: threads of two workers would wait for one another. Read when numpy and torch are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bestiary.study.study import Study

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells let what they start in the background ignore Ctrl-C; the commands that tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ANIMALS10_PLACES = (
    os.environ.get("BESTIARY_ANIMALS10"),
    str(Path(__file__).parents[2] / "shared/data/animals10-tenth"),
)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No test reads or fills the user's cache."""
    home = tmp_path_factory.mktemp("cache")
    os.environ["BESTIARY_CACHE"] = str(home)
    return home


@pytest.fixture(scope="session")
def animals10() -> Path:
    """A tenth of Animals-10."""
    for place in ANIMALS10_PLACES:
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("needs photos: set BESTIARY_ANIMALS10 to a folder of Animals-10, or put it at ../shared/data")


def draw_shape(kind: int, *, seed: int) -> Image.Image:
    """A picture whose class is its shape and colour: disc, bar or frame, on noise."""
    random = np.random.default_rng([kind, seed])
    image = Image.fromarray(random.integers(0, 90, (48, 64, 3), dtype=np.uint8))
    left, top = (int(value) for value in random.integers(4, 24, 2))
    colour = [(220, 60, 60), (60, 220, 60), (70, 70, 230)][kind % 3]
    draw = ImageDraw.Draw(image)
    if kind % 3 == 0:
        draw.ellipse((left, top, left + 20, top + 20), fill=colour)
    elif kind % 3 == 1:
        draw.rectangle((left, top, left + 30, top + 8), fill=colour)
    else:
        draw.rectangle((left, top, left + 22, top + 18), outline=colour, width=4)
    return image


@pytest.fixture(scope="session")
def make_shapes() -> Callable[..., Path]:
    """A function that fills a folder with class folders of shapes."""

    def make(folder: Path, *, classes: tuple[str, ...] = ("bar", "disc", "frame"), each: int = 14) -> Path:
        for kind, name in enumerate(classes):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(each):
                draw_shape(kind, seed=number).save(folder / name / f"{number:03d}.png")
        return folder

    return make


TINY = """
[audit]
backbone = "tf_efficientnet_lite0"
pixels = { size_px = 64 }

[split]
test_fraction = 0.25
val_fraction = 0.25

[models.majority]
backbone = "majority"

[models.probe]
backbone = "tf_efficientnet_lite0"
pixels = { size_px = 64 }

[models.cnn]
backbone = "simple_cnn"
trainable = "all"
epochs = 3
pixels = { size_px = 24, interpolation = "bilinear" }
head = { hidden = 16, dropout = 0.2 }
augment = { flip = true }
"""


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "tiny.toml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("shapes") / "photos")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, shapes: Path, tiny_config: Path) -> Study:
    study = Study.create(shapes, tmp_path_factory.mktemp("study") / "finished", config=tiny_config)
    study.run()
    return study
