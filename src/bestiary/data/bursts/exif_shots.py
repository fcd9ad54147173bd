"""What EXIF says of a shot: when it was taken, and with which camera, read tolerantly.

In: an EXIF block. Out: a `Shot`. Owns no file. Nothing here raises, whatever is in the block.

Tags of EXIF 2.32: DateTimeOriginal with SubSecTimeOriginal and OffsetTimeOriginal, else DateTimeDigitized with its own.
DateTime is not read: programs write into it when a file was last saved, and photos that were exported together would
be one burst.
"""

import re
from dataclasses import dataclass

from bestiary.data.bursts.times import as_time
from bestiary.data.formats.exif import EXIF_PREFIX, Directory

_MAKE, _MODEL, _CAMERA_SERIAL = 0x010F, 0x0110, 0xC62F
_EXIF_DIRECTORY, _BODY_SERIAL = 0x8769, 0xA431
# When, parts of a second, offset: of the original, then of when it was digitized.
_TIMES = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012))


@dataclass(frozen=True)
class Shot:
    """One shot.

    Attributes:
        taken_at: as `times.as_time` has it; "" where EXIF does not say.
        model: make and model of the camera, or "".
        serial: of its body, or "".
    """

    taken_at: str = ""
    model: str = ""
    serial: str = ""


def shot_of(exif: bytes) -> Shot:
    """Read an EXIF block, with or without the `Exif` that JPEGs begin it with; the bytes of a TIFF are one too."""
    data = EXIF_PREFIX.sub(b"", exif)
    main = Directory(data)
    start = main.number(_EXIF_DIRECTORY)
    inner = Directory(data, start=start) if start else Directory(b"")
    make, model = _text(main, _MAKE), _text(main, _MODEL)
    name = model if not make or model.casefold().startswith(make.casefold()) else f"{make} {model}".strip()
    serial = _text(inner, _BODY_SERIAL) or _text(main, _CAMERA_SERIAL)
    # Zeros alone are what cameras write that have no number.
    return Shot(_taken_at(inner), name, serial if serial.strip("0 .-") else "")


def _taken_at(inner: Directory) -> str:
    for when, parts, offset in _TIMES:
        text, fraction, zone = _text(inner, when), _text(inner, parts), _text(inner, offset)
        second = re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", text)
        if second is None:
            continue
        text += f".{fraction}" if re.fullmatch(r"\d{1,9}", fraction) else ""
        for whole in (text + zone if re.fullmatch(r"[+-]\d\d:\d\d|Z", zone) else text, text):
            try:
                if taken_at := as_time(whole):
                    return taken_at
            except ValueError:
                continue
    return ""


def _text(directory: Directory, tag: int) -> str:
    """The text of a tag, without the zero at its end; control characters are left out."""
    found = directory.tags.get(tag)
    if found is None or found.value_bytes != 1:
        return ""
    text = bytes(found.value).partition(b"\x00")[0].decode("utf-8", errors="replace")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
