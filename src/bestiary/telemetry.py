"""Nothing phones home: libraries that report to their makers are imported with that switched off.

In: nothing. Out: a context for imports, and switches for a process that is our own. A library is a guest: where
bestiary is imported, neither environment nor modules of the process stay changed.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any

_SWITCHES = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
# OpenVINO reports every import and conversion with this package, and has no switch against it. Where the package cannot
# be imported it takes a stub that it brings along, and keeps it.
_REPORTER = "openvino_telemetry"
# Threads that leave the context in another order than they entered it would restore each other's changes.
_LOCK = threading.RLock()


def prepare_process() -> None:
    """Set the switches for as long as the process lives: for the command line. What the user has set stays."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def telemetry_off() -> Iterator[None]:
    """Set the switches while a library is imported, which is when it reads them; afterwards all is as it was.

    A library that the caller has imported before is theirs, and reports what they let it report.
    """
    with _LOCK:
        unset = [name for name in _SWITCHES if name not in os.environ]
        there, reporter = _REPORTER in sys.modules, sys.modules.get(_REPORTER)
        os.environ.update({name: _SWITCHES[name] for name in unset})
        sys.modules[_REPORTER] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            for name in unset:
                os.environ.pop(name, None)
            if there:
                sys.modules[_REPORTER] = reporter  # type: ignore[assignment]
            else:
                del sys.modules[_REPORTER]


def import_openvino() -> Any:
    """The module `openvino`, which must be imported in no other way.

    Raises:
        ImportError: it is not installed.
    """
    if "openvino" not in sys.modules:
        with telemetry_off():
            return import_module("openvino")
    return import_module("openvino")
