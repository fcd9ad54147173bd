"""What must be set in the process before the heavy libraries are imported.

In: nothing. Out: environment variables, only those that the user has not set, and one module kept out.
"""

import os
import sys

# Nothing phones home.
_TELEMETRY = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def prepare_process() -> None:
    """Switch telemetry off; a variable that is set already is left alone.

    OpenVINO reports every import and conversion to its vendor and has no switch against it: its reporting package is
    made unimportable, and OpenVINO then takes the stub that it brings for that case.
    """
    for name, value in _TELEMETRY.items():
        os.environ.setdefault(name, value)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
