"""The command line: parse, call, print.

Results go to stdout, progress and remarks to stderr. Exit codes: 0 done, 1 failed (also where a model of a study was
not run), 2 wrong use, 130 interrupted.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from bestiary.core.errors import BestiaryError, UsageError
from bestiary.core.progress import SILENT, Console, Progress

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130

_INTERRUPTED = "\ninterrupted; what is complete is kept: run the same command to go on"

# The root of typer's errors of use. Typer carries its own copy of click and does not export this one.
_CommandLineError: Any = typer.BadParameter.mro()[2]

app = typer.Typer(
    name="bestiary",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "A folder of labelled images in; compared models, an honest report and a portable classifier out.\n\n"
        "Exit codes: 0 done, 1 failed (also where a model of a study was not run), 2 wrong use, 130 interrupted."
    ),
    epilog="Example: bestiary study photos/ --out my-study",
)
recipes_app = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="List the recipes, or show one as TOML.",
    epilog="Example: bestiary recipes show quick > my-study.toml",
)
app.add_typer(recipes_app, name="recipes")
cache_app = typer.Typer(
    invoke_without_command=True,
    help="What lies in the caches, how large, and when last used; clear them.",
    epilog="Example: bestiary cache",
)
app.add_typer(cache_app, name="cache")

Data = Annotated[str, typer.Argument(help="Folder of class folders, CSV or Parquet table, or a named set.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")]
Folder = Annotated[Path, typer.Argument(help="A study's folder.")]
RecipeName = Annotated[str, typer.Option("--recipe", "-r", help="A shipped recipe; see `bestiary recipes`.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file instead of a recipe.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: models.lite2-probe.head.hidden=512. Repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Where --out holds a study: go on with the configuration it has.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Where --out holds a study: give it this configuration; redo what changes.")
]

T = TypeVar("T")


def _progress(quiet: bool) -> Progress:
    return SILENT if quiet else Console()


def _when_there(resume: bool, force: bool) -> Literal["refuse", "resume", "force"]:
    if resume and force:
        raise UsageError("--resume and --force exclude each other")
    return "resume" if resume else "force" if force else "refuse"


def _open(study: Path, quiet: bool) -> Any:
    from bestiary.door.workflow import Study

    return Study.open(study, progress=_progress(quiet))


def _show(value: T, as_json: bool, show: Callable[[T], None]) -> None:
    from bestiary.door.printing import print_json

    if as_json:
        print_json(value)
    else:
        show(value)


@app.command(epilog="Example: bestiary study photos/ --out my-study --set models.lite2-probe.head.hidden=512")
def study(
    data: Data,
    out: Out,
    recipe: RecipeName = "quick",
    config: ConfigFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Index, split, train, compare, report, export. Run it again and it goes on where it was."""
    from bestiary.door.printing import print_comparison
    from bestiary.door.workflow import Study, StudyResult

    begun = Study.create(
        data,
        out,
        recipe=recipe,
        config_file=config,
        overrides=overrides or (),
        when_there=_when_there(resume, force),
        progress=_progress(quiet),
    )
    result = begun.run()

    def show(result: StudyResult) -> None:
        print_comparison(result.comparison)
        print()
        for name, reason in result.not_run.items():
            print(f"not run  {name}: {reason}")
        print(f"winner   {result.winner or 'none: no model but the dummy was run'}")
        print(f"report   {_relative(result.report)}")
        if result.model:
            print(f"model    {_relative(result.model)}")

    if as_json:
        _show({"study": begun.path, **result.__dict__}, True, print)
    else:
        show(result)
    return EXIT_FAILED if result.not_run else EXIT_DONE


def _relative(path: Path) -> str:
    """As short as can be for a person who is to open it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@app.command(epilog="Example: bestiary init photos/ --out my-study --recipe thorough")
def init(
    data: Data,
    out: Out,
    recipe: RecipeName = "quick",
    config: ConfigFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Begin a study: write study.toml and nothing else, to look at or to run stage by stage."""
    from bestiary.door.workflow import STUDY_FILE, Study

    begun = Study.create(
        data,
        out,
        recipe=recipe,
        config_file=config,
        overrides=overrides or (),
        when_there=_when_there(resume, force),
    )
    file = begun.path / STUDY_FILE
    _show({"study": begun.path, "config": file}, as_json, lambda _: print(_relative(file)))


@app.command(epilog="Example: bestiary index my-study")
def index(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Read every file of the data: what it is, or why it was left out."""
    from bestiary.door.printing import print_rows

    table = _open(study, quiet).index()

    def show(_: Any) -> None:
        read = table[table["error"] == ""]
        left_out = table[table["error"] != ""]
        print_rows(("class", "images"), [(name, f"{count}") for name, count in read["label"].value_counts().items()])
        print(f"\n{len(read)} images, {len(left_out)} files left out")
        for row in left_out.head(20).itertuples():
            print(f"  {ascii(row.path)[1:-1]}: {row.error}")
        if len(left_out) > 20:
            print(f"  ... and {len(left_out) - 20} more, in index.parquet")

    _show(table, as_json, show)


@app.command(epilog="Example: bestiary split my-study")
def split(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Divide the images into train, val and test; copies stay on one side."""
    from bestiary.door.printing import print_rows

    table = _open(study, quiet).split()
    counts = table["split"].value_counts()
    _show(
        table,
        as_json,
        lambda _: print_rows(("split", "images"), [(name, f"{counts[name]}") for name in ("train", "val", "test")]),
    )


@app.command(epilog="Example: bestiary train my-study lite2-probe")
def train(
    study: Folder,
    models: Annotated[list[str] | None, typer.Argument(help="Models to train; default: all.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train models, and score each once on test; those that are complete are kept."""
    from bestiary.door.printing import print_rows

    table = _open(study, quiet).train(models or ())
    rows = [(row.model, row.status, row.reason) for row in table.itertuples()]
    _show(table, as_json, lambda _: print_rows(("model", "status", "reason"), rows))
    return EXIT_FAILED if (table["status"] != "done").any() else EXIT_DONE


@app.command(epilog="Example: bestiary compare my-study --json")
def compare(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Rank the models on validation; compare each with the winner on test."""
    from bestiary.door.printing import print_comparison

    _show(_open(study, quiet).compare(), as_json, print_comparison)


@app.command(epilog="Example: bestiary report my-study")
def report(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Write report.html: one file, no network."""
    path = _open(study, quiet).report()
    _show({"report": path}, as_json, lambda _: print(_relative(path)))


@app.command(epilog="Example: bestiary export my-study --model lite0-probe")
def export(
    study: Folder,
    model: Annotated[str | None, typer.Option("--model", help="A model's name; default: the config's choice.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write model/: safetensors, ONNX, preprocessing, class names, a model card."""
    path = _open(study, quiet).export(model)
    _show({"model": path}, as_json, lambda _: print(_relative(path)))


@app.command(epilog="Example: bestiary predict my-study/model new/*.jpg more-photos/ --out predictions.csv")
def predict(
    model: Annotated[Path, typer.Argument(help="A model folder, or a study that holds one.")],
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, patterns; - reads a list from stdin.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .csv, .parquet or .jsonl file; default: CSV on stdout.")
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="How many classes to name.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines on stdout.")] = False,
    quiet: Quiet = False,
) -> int:
    """Classify images: one row a file; a file that cannot be read is a row with its error."""
    from bestiary.door.predicting import predict_to

    return predict_to(model, inputs, out=out, top_k=top_k, as_json=as_json, progress=_progress(quiet))


@recipes_app.callback()
def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes, or show one as TOML."""
    if context.invoked_subcommand is not None:
        return
    from bestiary.core.recipes import list_recipes
    from bestiary.door.printing import print_rows

    rows = [(recipe.name, recipe.summary) for recipe in list_recipes()]
    values = [{"name": name, "summary": summary} for name, summary in rows]
    _show(values, as_json, lambda _: print_rows(("recipe", "what for"), rows))


@recipes_app.command("show", epilog="Example: bestiary recipes show quick > my-study.toml")
def recipes_show(name: Annotated[str, typer.Argument(help="A recipe.")]) -> None:
    """Print a recipe as TOML, with what it is for, how long it takes and what to expect in its head."""
    from bestiary.core.recipes import get_recipe

    print(get_recipe(name).text, end="")


@recipes_app.command("keys", epilog="Example: bestiary recipes keys | grep optimizer")
def recipes_keys(as_json: Json = False) -> None:
    """Every key that a study file may have: what is allowed, the default, what it does."""
    from bestiary.core.recipes import list_keys
    from bestiary.door.printing import print_rows

    keys = [(key.name, key.allowed, key.default, key.description) for key in list_keys()]
    headers = ("key", "allowed", "default", "what it does")
    values = [dict(zip(headers, key, strict=True)) for key in keys]
    _show(values, as_json, lambda _: print_rows(headers, keys))


@app.command(epilog="Example: bestiary fetch animals10")
def fetch(name: Annotated[Literal["animals10"], typer.Argument(help="A named set.")], as_json: Json = False) -> None:
    """Download a named data set through kagglehub (needs the extra `kaggle`)."""
    from bestiary.data.datasets import fetch_animals10

    path = fetch_animals10()
    _show({"name": name, "path": path}, as_json, lambda _: print(path))


@app.command(epilog="Example: bestiary doctor --json")
def doctor(as_json: Json = False) -> None:
    """What is installed, devices, threads, caches and their size, which weights are here."""
    from bestiary.door.doctor import examine, print_examination

    _show(examine(), as_json, print_examination)


@cache_app.callback()
def cache(context: typer.Context, as_json: Json = False) -> None:
    """What lies in the caches, how large, and when last used; clear them."""
    if context.invoked_subcommand is None:
        cache_show(as_json)


@cache_app.command("show", epilog="Example: bestiary cache show --json")
def cache_show(as_json: Json = False) -> None:
    """What lies in the caches: kind, rows, size, last use, what it is made of."""
    from bestiary.door.caching import look_at_caches, print_caches

    _show(look_at_caches(), as_json, print_caches)


@cache_app.command("clear", epilog="Example: bestiary cache clear --older-than 30")
def cache_clear(
    older_than: Annotated[int | None, typer.Option(min=0, help="Stores unused for so many days.")] = None,
    study: Annotated[Path | None, typer.Option(help="The rows of a study's images, in all stores.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All stores.")] = False,
    kind: Annotated[Literal["pixels", "features", "activations"] | None, typer.Option(help="Only these.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> int:
    """Free disk by age, by study, or whole. It loses only time, other studies' too where they share images."""
    from bestiary.door.caching import clear_caches, print_cleared

    done = clear_caches(older_than_days=older_than, study=study, everything=everything, kind=kind, yes=yes)
    _show(done, as_json, print_cleared)
    return EXIT_FAILED if done["failed"] else EXIT_DONE


@app.command(epilog="Example: bestiary demo --out bestiary-demo")
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to put images and study.")] = Path("bestiary-demo"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole way on scikit-learn's digits with planted faults: under a minute, no network."""
    from bestiary.door.demo import print_demo, run_demo

    _show(run_demo(out, progress=_progress(quiet)), as_json, print_demo)


def run(arguments: list[str]) -> int:
    """Carry out a command line and return its exit code; errors are told on stderr."""
    try:
        result = app(arguments, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        print(_INTERRUPTED, file=sys.stderr)
        return EXIT_INTERRUPTED
    except _CommandLineError as error:
        error.show()
        return int(error.exit_code)
    except BestiaryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of a pipe has gone: it has what it wanted. Python's own flush at exit must find an open file.
        _discard_stdout()
        return EXIT_DONE
    except OSError as error:
        _discard_stdout()
        print(f"error: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    # typer answers Ctrl-C itself, with this code and no word.
    if result == EXIT_INTERRUPTED:
        print(_INTERRUPTED, file=sys.stderr)
    return result if isinstance(result, int) else EXIT_DONE


def _discard_stdout() -> None:
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """The entry point."""
    code = run(sys.argv[1:])
    # Taking the interpreter down takes 1.3 s once torch and OpenVINO are loaded. Nothing waits for it: files are closed
    # where they are written, and stdout was flushed by `run`.
    os._exit(code)
