"""libtiff's own messages kept off stderr while a TIFF is decoded.

In: nothing. Out: a context. Owns no file.

Pillow decodes compressed TIFFs with libtiff, which writes of every damaged strip to the terminal, by the name
"tempfile.tif"; what counts is in the `ImageError`. Its handler of errors is the process's, so it is put back at once.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import cast

_Setter = Callable[[int | None], int | None]


class _Silencer:
    """Takes libtiff's handler of errors away while anybody is inside, from whatever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._handler: int | None = None

    def enter(self, set_handler: _Setter) -> None:
        with self._lock:
            if self._inside == 0:
                self._handler = set_handler(None)
            self._inside += 1

    def leave(self, set_handler: _Setter) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                set_handler(self._handler)


_SILENCER = _Silencer()


@contextmanager
def silent_libtiff() -> Iterator[None]:
    """No message of libtiff inside; as it is where Pillow's libtiff cannot be found."""
    set_handler = _find_setter()
    if set_handler is None:
        yield
        return
    _SILENCER.enter(set_handler)
    try:
        yield
    finally:
        _SILENCER.leave(set_handler)


def _find_setter() -> _Setter | None:
    """`TIFFSetErrorHandler` of the libtiff that Pillow is linked with."""
    pillow = find_spec("PIL._imaging")
    try:
        setter = ctypes.CDLL(pillow.origin if pillow else "").TIFFSetErrorHandler
    except (AttributeError, OSError):
        return None
    setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return cast("_Setter", setter)
