"""The command line: parse, call, print.

Results go to stdout, progress and remarks to stderr. Exit codes: 0 done, 1 failed (also where a model of a study was
not run), 2 wrong use, 130 interrupted.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bestiary.cli.cache_commands import cache_app
from bestiary.cli.options import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    ConfigFile,
    Data,
    Folder,
    Force,
    Json,
    Out,
    Overrides,
    Quiet,
    RecipeName,
    Resume,
    open_study,
    progress_of,
    relative,
    show_result,
    when_there,
)
from bestiary.cli.recipe_commands import recipes_app
from bestiary.errors import BestiaryError
from bestiary.telemetry import prepare_process

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
app.add_typer(recipes_app, name="recipes")
app.add_typer(cache_app, name="cache")


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
    """Index, audit, split, train, compare, report, export. Run it again and it goes on where it was."""
    from bestiary.cli.printing import print_comparison
    from bestiary.study.study import Study, StudyResult

    begun = Study.create(
        data,
        out,
        recipe=recipe,
        config_file=config,
        overrides=overrides or (),
        when_there=when_there(resume, force),
        progress=progress_of(quiet),
    )
    result = begun.run()

    def show(result: StudyResult) -> None:
        print_comparison(result.comparison)
        print()
        for name, reason in result.not_run.items():
            print(f"not run  {name}: {reason}")
        print(f"winner   {result.winner or 'none: no model but the dummy was run'}")
        print(f"report   {relative(result.report)}")
        if result.model:
            print(f"model    {relative(result.model)}")
        if result.findings:
            count = sum(result.findings.values())
            print(f"findings {count:,}: `bestiary review {relative(begun.path)}` goes through them")

    if as_json:
        show_result({"study": begun.path, **result.__dict__}, True, print)
    else:
        show(result)
    return EXIT_FAILED if result.not_run else EXIT_DONE


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
    from bestiary.study.study import STUDY_FILE, Study

    begun = Study.create(
        data,
        out,
        recipe=recipe,
        config_file=config,
        overrides=overrides or (),
        when_there=when_there(resume, force),
    )
    file = begun.path / STUDY_FILE
    show_result({"study": begun.path, "config": file}, as_json, lambda _: print(relative(file)))


@app.command(epilog="Example: bestiary index my-study")
def index(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Read every file of the data: what it is, or why it was left out."""
    from bestiary.cli.printing import print_rows

    table = open_study(study, quiet).index()

    def show(_: Any) -> None:
        read = table[table["error"] == ""]
        left_out = table[table["error"] != ""]
        print_rows(("class", "images"), [(name, f"{count}") for name, count in read["label"].value_counts().items()])
        print(f"\n{len(read)} images, {len(left_out)} files left out")
        for row in left_out.head(20).itertuples():
            print(f"  {ascii(row.path)[1:-1]}: {row.error}")
        if len(left_out) > 20:
            print(f"  ... and {len(left_out) - 20} more, in index.parquet")

    show_result(table, as_json, show)


@app.command(epilog="Example: bestiary audit my-study")
def audit(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Look for what is wrong: unreadable files, copies, leaks, label errors, outliers, bad quality, shortcuts."""
    from bestiary.cli.printing import print_findings

    show_result(open_study(study, quiet).audit(), as_json, print_findings)


@app.command(epilog="Example: bestiary review my-study")
def review(
    study: Folder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    reviewer: Annotated[str, typer.Option(help="Who decides; written beside each decision. Default: the user.")] = "",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Go through the findings on a local page; every decision is saved at once in corrections.csv."""
    from bestiary.cli.review_command import review_study

    review_study(study, port=port, reviewer=reviewer, browser=browser)


@app.command("apply", epilog="Example: bestiary apply my-study --to photos-clean")
def apply_(
    study: Folder,
    to: Annotated[Path, typer.Option("--to", help="A folder that is not there yet, or is empty.")],
    how: Annotated[
        Literal["copy", "hardlink", "symlink"], typer.Option(help="Copy the files, or link to them.")
    ] = "copy",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a clean copy of the data, corrections.csv carried out; nothing of the original changes."""
    from bestiary.cli.printing import print_applied

    show_result(open_study(study, quiet).apply(to, how=how), as_json, print_applied)


@app.command(epilog="Example: bestiary split my-study")
def split(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Divide the images into train, val and test; copies stay on one side."""
    from bestiary.cli.printing import print_rows

    table = open_study(study, quiet).split()
    counts = table["split"].value_counts()
    show_result(
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
    from bestiary.cli.printing import print_rows

    table = open_study(study, quiet).train(models or ())
    rows = [(row.model, row.status, row.reason) for row in table.itertuples()]
    show_result(table, as_json, lambda _: print_rows(("model", "status", "reason"), rows))
    return EXIT_FAILED if (table["status"] != "done").any() else EXIT_DONE


@app.command(epilog="Example: bestiary compare my-study --json")
def compare(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Rank the models on validation; compare each with the winner on test."""
    from bestiary.cli.printing import print_comparison

    show_result(open_study(study, quiet).compare(), as_json, print_comparison)


@app.command(epilog="Example: bestiary report my-study")
def report(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Write report.html: one file, no network."""
    path = open_study(study, quiet).report()
    show_result({"report": path}, as_json, lambda _: print(relative(path)))


@app.command(epilog="Example: bestiary export my-study --model lite0-probe")
def export(
    study: Folder,
    model: Annotated[str | None, typer.Option("--model", help="A model's name; default: the config's choice.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write model/: safetensors, ONNX, preprocessing, class names, a model card."""
    path = open_study(study, quiet).export(model)
    show_result({"model": path}, as_json, lambda _: print(relative(path)))


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
    from bestiary.cli.predict_output import predict_to

    return predict_to(model, inputs, out=out, top_k=top_k, as_json=as_json, progress=progress_of(quiet))


@app.command(epilog="Example: bestiary fetch animals10")
def fetch(name: Annotated[Literal["animals10"], typer.Argument(help="A named set.")], as_json: Json = False) -> None:
    """Download a named data set through kagglehub (needs the extra `kaggle`)."""
    from bestiary.data.datasets import fetch_animals10

    path = fetch_animals10()
    show_result({"name": name, "path": path}, as_json, lambda _: print(path))


@app.command(epilog="Example: bestiary doctor --json")
def doctor(as_json: Json = False) -> None:
    """What is installed, devices, threads, caches and their size, which weights are here."""
    from bestiary.cli.doctor import examine, print_examination

    show_result(examine(), as_json, print_examination)


@app.command(epilog="Example: bestiary demo --out bestiary-demo")
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to put images and study.")] = Path("bestiary-demo"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole way on scikit-learn's digits with planted faults: under a minute, no network."""
    from bestiary.demo.demo import print_demo, run_demo

    show_result(run_demo(out, progress=progress_of(quiet)), as_json, print_demo)


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
    prepare_process()
    code = run(sys.argv[1:])
    # Taking the interpreter down takes 1.3 s once torch and OpenVINO are loaded. Nothing waits for it: files are closed
    # where they are written, and stdout was flushed by `run`.
    os._exit(code)
