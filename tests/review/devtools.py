"""Chromium driven through its DevTools protocol over a pipe: real key events, no library.

The browser reads commands from its descriptor 3 and writes answers and events to 4: JSON, each ended by a NUL byte.
https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.chromium import CHROMIUM, OPTIONS

# Puts the two pipes where Chromium looks for them, then becomes Chromium.
_LAUNCH = (
    "import fcntl, os, sys; ends = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]]; "
    "[os.dup2(end, place) for place, end in enumerate(ends, 3)]; os.execv(sys.argv[3], sys.argv[3:])"
)
# Keys that are no single character: DOM's name → virtual key code, and the text that the key types.
_NAMED = {
    "Enter": (13, "\r"),
    "Tab": (9, ""),
    "Escape": (27, ""),
    "ArrowLeft": (37, ""),
    "ArrowUp": (38, ""),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
    " ": (32, " "),
}
PATIENCE_S = 20.0
LEFT_MEANWHILE = ("Inspected target navigated", "Execution context was destroyed", "Cannot find context")


class PageLeftError(AssertionError):
    """The page went elsewhere before it had answered."""


class Page:
    """One tab of a browser of its own. Use it in a `with`."""

    def __init__(self, profile: Path, *, width: int = 1280, height: int = 800) -> None:
        assert CHROMIUM
        to_read, self._to_browser = os.pipe()
        self._from_browser, to_write = os.pipe()
        own = (
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "--remote-debugging-pipe",
            "about:blank",
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(to_read), str(to_write), CHROMIUM, *OPTIONS, *own],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self.errors: list[str] = []  # what the page's console said of errors, and what its scripts threw
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._session = ""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._to_browser)  # whereupon the browser ends
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(PATIENCE_S)
        os.close(self._from_browser)

    def _read(self) -> None:
        rest = b""
        while chunk := os.read(self._from_browser, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            with self._arrived:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers[message["id"]] = message
                    elif message["method"] == "Runtime.exceptionThrown":
                        self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
                    elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                        self.errors.append(message["params"]["entry"]["text"])
                self._arrived.notify_all()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command, and its answer."""
        self._number += 1
        number = self._number
        session = {"sessionId": self._session} if self._session else {}
        os.write(
            self._to_browser, json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0"
        )
        with self._arrived:
            assert self._arrived.wait_for(lambda: number in self._answers, PATIENCE_S), f"no answer to {method}"
            answer = self._answers.pop(number)
        if answer.get("error", {}).get("message", "").startswith(LEFT_MEANWHILE):
            raise PageLeftError(method)
        assert "error" not in answer, (method, answer)
        return dict(answer["result"])

    def open(self, url: str) -> None:
        """Go to an address and wait until the page is there."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        ends = time.monotonic() + PATIENCE_S
        while not self._is_true(expression):
            assert time.monotonic() < ends, f"never true: {expression}\n{self.evaluate('document.body.innerText')}"
            time.sleep(0.01)

    def _is_true(self, expression: str) -> bool:
        try:
            return bool(self.evaluate(f"Boolean({expression})"))
        except PageLeftError:  # the page that was asked leads to another one
            return False

    def press(self, key: str) -> None:
        """Press one key and let it go."""
        self.down(key)
        self.up(key)

    def down(self, key: str, *, again: bool = False) -> None:
        """Press one key; `again`: as the repetition while it is held down."""
        code, text = _key(key)
        kind = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", key=key, windowsVirtualKeyCode=code, autoRepeat=again, **kind)

    def up(self, key: str) -> None:
        """Let one key go."""
        self.call("Input.dispatchKeyEvent", key=key, windowsVirtualKeyCode=_key(key)[0], type="keyUp")

    def click(self, selector: str) -> None:
        """Press the mouse on the middle of an element."""
        box = self.evaluate(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **place)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **place)

    def resize(self, width: int, height: int) -> None:
        """Another window size, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """The reader's theme: light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, file: Path) -> None:
        """Write what the window shows as a PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


def _key(name: str) -> tuple[int, str]:
    return _NAMED[name] if name in _NAMED else (ord(name.upper()), name)
