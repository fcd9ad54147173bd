"""Which files a data set has, and what their place or table says of them."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestiary.config.schema import DataConfig
from bestiary.data.folders.layout import EMPTY_FOLDER
from bestiary.data.listing import NO_IMAGES, SIDECAR_FILE, SYSTEM_FILE, Listed, list_files
from bestiary.errors import ConfigError, DataError, UsageError


def tree(root: Path, *paths: str) -> Path:
    root.mkdir(exist_ok=True)
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def listed(root: Path, **options: object) -> dict[str, Listed]:
    files = list_files(DataConfig(path=str(root), **options))  # type: ignore[arg-type]
    assert len({file.path for file in files}) == len(files)
    return {file.path: file for file in files}


def test_folder_names_are_labels_at_any_depth(tmp_path: Path) -> None:
    files = listed(tree(tmp_path / "d", "cat/a.png", "cat/old/2019/b.png", "dog/a.png"))
    assert [(file.path, file.label) for file in files.values()] == [
        ("cat/a.png", "cat"),
        ("cat/old/2019/b.png", "cat"),
        ("dog/a.png", "dog"),
    ]
    assert {file.split + file.group + file.error for file in files.values()} == {""}


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val", "test"), ("train", "val", "test")),
        (("train", "test"), ("train", "test")),
        (("training", "validation"), ("train", "val")),
        (("Training", "Testing"), ("train", "test")),
        (("Train", "valid", "TEST"), ("train", "val", "test")),
        (("train_images", "Test Set", "val-data"), ("train", "test", "val")),
        (("train2017", "val2017"), ("train", "val")),
        (("trainset", "testset"), ("train", "test")),
        (("tr", "dev", "ts"), ("train", "val", "test")),
        (("asl_alphabet_train", "asl_alphabet_test"), ("train", "test")),
        (("train1", "train2"), ("train", "train")),
        (("train", "hold-out"), ("train", "test")),
    ],
)
def test_ready_made_split_folders_are_recognised(
    tmp_path: Path, folders: tuple[str, ...], splits: tuple[str, ...]
) -> None:
    root = tree(tmp_path / "d", *(f"{folder}/{label}/sub/a.png" for folder in folders for label in ("cat", "dog")))
    files = listed(root)
    for folder, split in zip(folders, splits, strict=True):
        for label in ("cat", "dog"):
            file = files[f"{folder}/{label}/sub/a.png"]
            assert (file.label, file.split, file.error) == (label, split, "")


@pytest.mark.parametrize("odd", ["test", "train", "validation"])
def test_class_called_like_a_split_beside_other_classes_is_a_class(tmp_path: Path, odd: str) -> None:
    files = listed(tree(tmp_path / "d", f"{odd}/a.png", "cat/a.png", "cat/train/b.png"))
    assert (files[f"{odd}/a.png"].label, files[f"{odd}/a.png"].split) == (odd, "")
    assert (files["cat/train/b.png"].label, files["cat/train/b.png"].split) == ("cat", "")


def test_lone_folder_called_like_a_split_is_a_class(tmp_path: Path) -> None:
    files = listed(tree(tmp_path / "d", "test/a.png", "test/cat/b.png"))
    assert {(file.label, file.split) for file in files.values()} == {("test", "")}


def test_hidden_folders_do_not_hide_that_the_others_are_splits(tmp_path: Path) -> None:
    files = listed(tree(tmp_path / "d", ".git/x", "__MACOSX/y", "train/cat/a.png", "test/cat/a.png", "stray.png"))
    assert (files["train/cat/a.png"].split, files["train/cat/a.png"].label) == ("train", "cat")
    assert files["stray.png"].error == "lies in no split folder"


def test_files_outside_class_folders_and_hidden_ones_are_listed_with_the_reason(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "d", "cat/a.png", "stray.png", ".hidden", "cat/.DS_Store", "cat/Thumbs.db", ".git/o/b", "cat/.x/c"
    )
    errors = {path: file.error for path, file in listed(root).items()}
    hidden = dict.fromkeys(
        [".hidden", "cat/.DS_Store", "cat/Thumbs.db", ".git/o/b", "cat/.x/c"], "hidden or system file"
    )
    assert errors == {"cat/a.png": "", "stray.png": "lies in no class folder"} | hidden


def test_files_in_a_split_folder_but_in_no_class_are_listed_with_the_reason(tmp_path: Path) -> None:
    files = listed(tree(tmp_path / "d", "train/a.png", "train/cat/a.png", "test/cat/a.png"))
    assert files["train/a.png"].error == "lies in no class folder"


NAMES = ["a b.png", "line\nbreak.png", "käse ☃ 猫.png", "<b>&amp;\"'.png", "-rf.png", "tab\t.png", "a\\b.png", "~.png"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    files = listed(tree(tmp_path / "d", f"{name}/{name}", f"dog/{name}"))
    assert {file.path: file.label for file in files.values()} == {f"{name}/{name}": name, f"dog/{name}": "dog"}
    assert not any(file.error for file in files.values())


def test_names_that_are_no_unicode_are_listed_with_their_bytes(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "cat/a.png")
    try:
        (root / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    files = listed(root)
    assert files["cat/caf\\xe9.png"].error == "file name is not valid UTF-8: rename it"
    assert files["cat/caf\\xe9.png"].label == "cat"


def test_links_that_loop_end_and_the_rest_is_listed(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "cat/a.png", "dog/sub/b.png")
    os.symlink(root, root / "cat" / "up")
    os.symlink("self", root / "self")
    os.symlink("..", root / "dog" / "sub" / "parent")
    os.symlink(root / "dog", root / "cat" / "dogs")
    os.symlink(root / "cat", root / "dog" / "cats")
    files = listed(root)
    assert files["cat/up"].error == files["dog/sub/parent"].error == "link that leads back to a folder above it"
    assert files["self"].error.startswith("broken link")
    assert files["cat/dogs/sub/b.png"].label == "cat"
    assert files["cat/a.png"].error == files["dog/sub/b.png"].error == ""


def test_broken_link_is_listed_and_a_good_one_followed(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "cat/a.png")
    elsewhere = tree(tmp_path / "elsewhere", "c.png")
    os.symlink(tmp_path / "none", root / "cat" / "gone.png")
    os.symlink(elsewhere / "c.png", root / "cat" / "file.png")
    os.symlink(elsewhere, root / "dog")
    files = listed(root)
    assert files["cat/gone.png"].error.startswith("broken link: No such file")
    assert (files["cat/file.png"].label, files["cat/file.png"].error) == ("cat", "")
    assert (files["dog/c.png"].label, files["dog/c.png"].error) == ("dog", "")


def test_pipe_is_listed_and_not_opened(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "cat/a.png")
    os.mkfifo(root / "cat" / "pipe.png")
    assert listed(root)["cat/pipe.png"].error == "no regular file"


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """No permission for folders of this name."""
    real = os.scandir

    def scandir(folder: Path):  # type: ignore[no-untyped-def]
        if Path(folder).name == name:
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)


def test_folder_that_cannot_be_listed_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "d", "cat/a.png", "dog/secret/b.png", "owl/c.png")
    forbid(monkeypatch, "secret")
    files = listed(root)
    assert (files["dog/secret"].label, files["dog/secret"].error) == (
        "dog",
        "folder cannot be listed: Permission denied",
    )
    forbid(monkeypatch, "owl")
    assert listed(root)["owl"].error == "folder cannot be listed: Permission denied"


def test_root_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"cannot list .*Permission denied"):
        listed(tmp_path)


def test_folder_whose_name_is_no_unicode_is_a_row_for_each_of_its_files(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "cat/a.png", "dog/b.png", "dog/c.txt")
    odd = root / os.fsdecode(b"caf\xe9")
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    tree(odd, *(f"{number}.png" for number in range(12)), "sub/more.png", ".DS_Store", "notes.txt")
    files = listed(root)
    lost = {path: file for path, file in files.items() if path.startswith("caf\\xe9/")}
    reasons = {path: file.error for path, file in lost.items()}
    assert len(reasons) == 15
    assert reasons.pop("caf\\xe9/.DS_Store") == SYSTEM_FILE
    assert set(reasons.values()) == {
        "lies in a folder whose name is not valid UTF-8: rename the folder",
    }
    assert {file.label for path, file in lost.items() if path in reasons} == {"caf\\xe9"}


SYSTEM_FOLDERS = [
    *("System Volume Information", "$RECYCLE.BIN", "lost+found", "#recycle", "@eaDir", ".Trashes", "__MACOSX"),
    *(".ipynb_checkpoints", ".git", "__pycache__", "$Recycle.Bin", "@EADIR"),
]


@pytest.mark.parametrize("folder", SYSTEM_FOLDERS)
def test_folder_of_the_system_is_no_class_and_no_lost_image(tmp_path: Path, folder: str) -> None:
    files = listed(tree(tmp_path / "d", "cat/a.png", "dog/b.png", f"{folder}/c.png", f"cat/{folder}/d/e.png"))
    for path in (f"{folder}/c.png", f"cat/{folder}/d/e.png"):
        assert (files[path].label, files[path].error) == ("", SYSTEM_FILE)
    assert len(files) == 4


def test_folder_of_the_system_that_cannot_be_listed_is_no_lost_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "d", "cat/a.png", "dog/b.png", "lost+found/c.png")
    forbid(monkeypatch, "lost+found")
    assert listed(root)["lost+found"].error == SYSTEM_FILE


@pytest.mark.parametrize(
    "name", ["Thumbs.db", "ehthumbs.db", "desktop.ini", ".DS_Store", "._a.png", "Icon\r", ".a.png.swp", "DESKTOP.INI"]
)
def test_file_of_the_system_is_no_lost_image(tmp_path: Path, name: str) -> None:
    assert listed(tree(tmp_path / "d", "cat/a.png", f"cat/{name}"))[f"cat/{name}"].error == SYSTEM_FILE


@pytest.mark.parametrize("ending", ["xmp", "json", "csv", "txt", "xml", "aae", "thm", "XMP", "Json"])
def test_files_beside_photos_are_told_from_lost_images(tmp_path: Path, ending: str) -> None:
    files = listed(tree(tmp_path / "d", "cat/a.jpg", f"cat/a.{ending}", f"about.{ending}", f"notes/b.{ending}"))
    for path in (f"cat/a.{ending}", f"about.{ending}", f"notes/b.{ending}"):
        assert (files[path].label, files[path].error) == ("", SIDECAR_FILE)
    assert files["notes"].error == EMPTY_FOLDER
    assert {SYSTEM_FILE, SIDECAR_FILE, EMPTY_FOLDER} == set(NO_IMAGES)


@pytest.mark.parametrize("content", [(), ("owl/.DS_Store",), ("owl/a.txt",), ("owl/sub/deep/.x",)])
def test_class_folder_without_images_is_a_row_and_no_class(tmp_path: Path, content: tuple[str, ...]) -> None:
    root = tree(tmp_path / "d", "cat/a.png", "dog/b.png", *content)
    (root / "owl").mkdir(exist_ok=True)
    (root / "cat" / "nothing here").mkdir()
    files = listed(root)
    assert (files["owl"].label, files["owl"].error) == ("", EMPTY_FOLDER)
    assert set(files) == {"cat/a.png", "dog/b.png", "owl", *content}


def test_folders_without_images_are_rows_in_splits_too(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "val/.DS_Store")
    (root / "test" / "dog" / "inner").mkdir(parents=True)
    empty = {path for path, file in listed(root).items() if file.error == EMPTY_FOLDER}
    assert empty == {"test/dog", "val"}


def test_root_may_be_a_link(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "cat/a.png", "dog/b.png")
    (tmp_path / "link").symlink_to(root)
    assert listed(tmp_path / "link") == listed(root)


def test_file_that_vanishes_while_it_is_listed_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "d", "cat/a.png", "dog/b.png")
    real = os.stat

    def stat(path: object, **options: object) -> os.stat_result:
        if str(path).endswith("b.png"):
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)
    assert listed(root)["dog/b.png"].error == "cannot be read: No such file or directory"


names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
folder_names = st.one_of(names, st.sampled_from(["train", "test", "val", "cat", "dog", ".git", "lost+found"]))
file_names = st.one_of(names, st.sampled_from(["a.png", "a.txt", "Thumbs.db"]))
file_paths = st.lists(
    st.tuples(st.lists(folder_names, max_size=3), file_names).map(lambda p: "/".join([*p[0], p[1]])), max_size=8
)


@given(paths=file_paths, top_folders=st.sampled_from(["auto", "classes"]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_file_is_accounted_for_once(paths: list[str], top_folders: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        made = set()
        for path in ["class/first.png", *paths]:
            file = Path(place, path)
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"x")
            except OSError:  # a file and a folder of one name
                continue
            made.add(path)
        try:
            files = listed(Path(place), top_folders=top_folders)
        except DataError as error:
            assert top_folders == "auto" and "data.top_folders" in str(error)  # noqa: PT017, PT018
            return
        assert {path for path, file in files.items() if file.error != EMPTY_FOLDER} == made
        for file in files.values():
            assert bool(file.error) != bool(file.label)
            assert file.label in ("", *file.path.split("/")[:-1])


def test_missing_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such folder: .*nothing-here") as caught:
        listed(tmp_path / "nothing-here")
    assert caught.value.exit_code == 2


def test_no_data_at_all_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="no data"):
        list_files(DataConfig())


def test_single_image_instead_of_a_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.png is a file"):
        listed(tree(tmp_path / "d", "a.png") / "a.png")


@pytest.mark.parametrize("paths", [(), ("cat/", "dog/")])
def test_empty_folder_is_an_error_that_says_what_belongs_there(tmp_path: Path, paths: tuple[str, ...]) -> None:
    for path in ("", *paths):
        (tmp_path / "d" / path).mkdir(parents=True)
    with pytest.raises(DataError, match=r"is empty: .*one folder a class"):
        listed(tmp_path / "d")


@pytest.mark.parametrize("paths", [("a.png", "b.png"), ("a.png", ".git/b"), ("train/a.png", "test/b.png")])
def test_images_without_class_folders_are_an_error_with_the_fix(tmp_path: Path, paths: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="2 files but no class folders: put each class's images"):
        listed(tree(tmp_path / "d", *paths))


def test_classes_are_renamed_and_two_may_become_one(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "cane/a.png", "lupo/b.png", "gatto/c.png", "x.txt")
    files = listed(root, rename={"cane": "dog", "lupo": "dog"})
    assert [file.label for file in files.values()] == ["", "dog", "gatto", "dog"]


def test_names_can_be_swapped(tmp_path: Path) -> None:
    files = listed(tree(tmp_path / "d", "a/1", "b/2"), rename={"a": "b", "b": "a"})
    assert [file.label for file in files.values()] == ["b", "a"]


def test_rename_of_a_class_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.rename: no class 'cnae'.*classes found: cane, gatto"):
        listed(tree(tmp_path / "d", "cane/a.png", "gatto/c.png", "x.txt"), rename={"cnae": "dog"})
