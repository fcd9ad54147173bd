"""The command line: parse, call, report errors.

Results go to stdout, progress and remarks to stderr. Exit codes: 0 done, 1 failed (also where a model of a study was
not run), 2 wrong use, 130 interrupted.
"""

import contextlib
import os
import sys
import warnings
from typing import Annotated, Any

import typer

import bestiary
from bestiary.cli.data_commands import data_app
from bestiary.cli.machine_commands import machine_app
from bestiary.cli.model_commands import model_app
from bestiary.cli.options import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED
from bestiary.cli.stage_commands import stage_app
from bestiary.cli.streams import prepare_streams
from bestiary.cli.study_commands import study_app
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
    epilog="Example: bestiary study photos/",
)
# In the order of `--help`. Typers without a name: their commands become commands of this one.
for _commands in (study_app, stage_app, data_app, model_app, machine_app):
    app.add_typer(_commands)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"bestiary {bestiary.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The options of `bestiary` itself; its help stands above."""


def run(arguments: list[str]) -> int:
    """Carry out a command line and return its exit code; errors are reported on stderr."""
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
    except (BrokenPipeError, SystemExit) as end:
        # typer and rich answer a broken pipe themselves, with an exit of 1.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, BrokenPipeError):
            raise
        # The reader of a pipe has gone: it has what it asked for. Python's own flush at exit must find an open file.
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
    """The entry point, of a process of its own: streams that take every character, no warnings of other libraries."""
    prepare_process()
    prepare_streams()
    _silence_warnings()
    code = run(sys.argv[1:])
    # After an error or Ctrl-C too: what was printed before it is the user's.
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
    # Taking the interpreter down takes 1.3 s once torch and OpenVINO are loaded. Nothing waits for it: files are closed
    # where they are written.
    os._exit(code)


def _silence_warnings() -> None:
    """Show no Python warnings, in this process or in those that it starts, unless -W or PYTHONWARNINGS asks for them.

    They come from other libraries, for programmers. Filters alone do not keep them off: statsmodels adds filters of its
    own when it is imported.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.showwarning = lambda *_, **__: None
        os.environ["PYTHONWARNINGS"] = "ignore"
