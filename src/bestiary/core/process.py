"""What must be set in the process before the heavy libraries are imported.

In: nothing. Out: environment variables, only those that the user has not set, and one module kept out.
"""

import os
import sys

# Nothing phones home.
_TELEMETRY = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}

# OpenMP's threads sleep while they wait for one another. Left to spin they take the cores from whatever else the
# machine does, and from one another: with two other processes on two cores, the baseline CNN at 32 px trained 294
# images/s spinning and 3,456 sleeping.
_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}


def prepare_process() -> None:
    """Switch telemetry off, and let waiting threads sleep; a variable that is set already is left alone.

    OpenVINO reports every import and conversion to its vendor and has no switch against it: its reporting package is
    made unimportable, and OpenVINO then takes the stub that it brings for that case.
    """
    for name, value in (_TELEMETRY | _THREADS).items():
        os.environ.setdefault(name, value)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
