"""Nothing phones home: the demo runs with the network cut, and nothing even tries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bestiary.audit.issues import ISSUES

# Loaded by Python before anything else: every attempt to leave the machine is written down and refused.
GUARD = """
import os, socket

def _refuse(*arguments, **_):
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(repr(arguments) + "\\n")
    raise OSError("the network is cut")

class Socket(socket.socket):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            _refuse("connect", address)
        return super().connect(address)
    connect_ex = connect

socket.socket = Socket
socket.getaddrinfo = lambda *arguments, **rest: _refuse("getaddrinfo", arguments)
"""


def run_cut_off(arguments: list[str], place: Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    (place / "guard").mkdir()
    (place / "guard" / "sitecustomize.py").write_text(GUARD)
    log = place / "attempts"
    log.touch()
    environment = {
        **os.environ,
        "PYTHONPATH": str(place / "guard"),
        "NETWORK_LOG": str(log),
        "BESTIARY_CACHE": str(place / "cache"),
        "HOME": str(place),
    }
    for name in ("HF_HUB_OFFLINE", "CI", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, cwd=place)
    return done, log.read_text().splitlines()


def test_the_guard_sees_an_attempt(tmp_path: Path) -> None:
    code = "import urllib.request\ntry: urllib.request.urlopen('http://192.0.2.1')\nexcept OSError as e: print(e)"
    done, attempts = run_cut_off([sys.executable, "-c", code], tmp_path)
    assert attempts
    assert "the network is cut" in done.stdout


@pytest.mark.slow
def test_the_demo_runs_with_the_network_cut_and_nothing_tries_to_reach_it(tmp_path: Path) -> None:
    done, attempts = run_cut_off([sys.executable, "-m", "bestiary", "demo", "--out", "d", "--json", "-q"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert attempts == []
    result = json.loads(done.stdout)
    faults = {row["kind"]: row for row in result["faults"]}
    assert set(faults) == set(ISSUES)
    # What is judged by a probe or by a bar may miss one; false alarms are bounded lest finding everything would do.
    for kind, row in faults.items():
        assert row["found"] + row["missed"] == row["planted"]
        assert row["missed"] <= (3 if kind == "label_error" else 1 if row["planted"] > 3 else 0), row
        assert row["false_alarms"] - row["at_other_faults"] <= row["planted"], row
    best = {row["model"]: row["test_accuracy"] for row in result["comparison"]}
    assert best["scratch-cnn"] > 0.85
    assert best["majority"] < 0.2
    assert Path(result["report"]).is_file()
