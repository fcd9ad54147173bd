"""When a photo was taken: a text of a table or of EXIF → one form of text, and microseconds.

In: texts. Out: ISO 8601, or a number of seconds as it was written; "" for none. Owns no file.

A time may carry an offset from UTC or be that of a clock on a wall; which clock is not known then.
"""

import re
from datetime import date, datetime, timedelta

FORMS = "2020-05-01 12:00:03, 2020-05-01T12:00:03+02:00, 2020:05:01 12:00:03 or a number of seconds"

_START = datetime(1970, 1, 1)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_EXIF_DATE = re.compile(r"^(\d{4}):(\d\d):(\d\d)(?=$|[ T])")
# What cameras without a clock write.
_NO_TIME = re.compile(r"^[0:\s-]*$")
# The year 5138: nobody counts so many seconds, and milliseconds since 1970 are more.
_MOST_SECONDS = 1e11


def as_time(text: str) -> str:
    """A time in the one form that the index keeps.

    Args:
        text: ISO 8601 with hours and minutes at least, the same with EXIF's colons in the date, or a number of seconds.

    Returns:
        ISO 8601, or the number as it was written; "" where the text is empty or EXIF's zeros.

    Raises:
        ValueError: it is none of these; says why, in words that follow the text.
    """
    text = text.strip()
    if (_NO_TIME.match(text) and ":" in text) or not text:
        return ""
    if re.fullmatch(r"\d{14}", text) and (moment := _moment(f"{text[:8]}T{text[8:]}")):
        return moment.isoformat()
    iso = _EXIF_DATE.sub(r"\1-\2-\3", text)
    if _is_day(iso):
        raise ValueError("is a day without the time of day")
    if _NUMBER.fullmatch(text):
        if abs(float(text)) >= _MOST_SECONDS:
            raise ValueError("is no number of seconds that can be: divide milliseconds by 1,000")
        return text
    moment = _moment(iso)
    if moment is None:
        raise ValueError("is no time that can be read")
    if not re.search(r"[T ]\d\d:?\d\d", iso):
        raise ValueError("has no minutes")
    return moment.isoformat()


def is_number(time: str) -> bool:
    """Whether a time of `as_time` is a number of seconds, and no date."""
    return _NUMBER.fullmatch(time) is not None


def microseconds(time: str) -> tuple[int, int | None]:
    """A time of `as_time` as whole microseconds: by its own clock, and since 1970 in UTC where its offset is known."""
    if is_number(time):
        count = round(float(time) * 1e6)
        return count, count
    moment = datetime.fromisoformat(time)
    by_clock = (moment.replace(tzinfo=None) - _START) // timedelta(microseconds=1)
    offset = moment.utcoffset()
    return by_clock, None if offset is None else by_clock - offset // timedelta(microseconds=1)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _is_day(text: str) -> bool:
    """Whether it is a date alone. Eight digits are one where they can be a day of this or the last century."""
    if re.fullmatch(r"\d+", text) and not re.match(r"(?:19|20)\d{6}$", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
