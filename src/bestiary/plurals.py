"""Plurals: a count with its noun, in messages and in tables.

In: a count and a noun. Out: a short string with plain spaces. Owns no file.
"""


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 file`, `2,618 files`, `3 classes`.

    Args:
        count: how many; 0 takes the plural.
        noun: the singular.
        plural: where it is not the singular and an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
