"""Nothing phones home: the telemetry of every dependency is switched off before it is imported."""

import os

_SWITCHES = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def switch_off_telemetry() -> None:
    """Set the switches that the user has not set. OpenVINO has none: `learn.forward` goes past its reporting."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
