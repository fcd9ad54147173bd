r"""Patterns that file names suggest: which parts of them may say that images belong together.

In: paths. Out: candidates for `data.group_pattern`. Owns no file.

A name is taken apart into runs of digits, runs of letters and what stands between them: `exp3_num_240048` is letters,
digits, `_`, letters, `_`, digits. For the commonest such forms, each stretch of parts is a candidate, alone or from the
folder on; so is a number without its last one to three digits, since what was photographed in one go is numbered in
one go. Folders and plain prefixes are candidates whatever the form.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

# Forms that fewer files have, and names of more parts (they are codes), suggest nothing.
_LEAST_SHARE, _MOST_FORMS, _MOST_PARTS = 0.1, 4, 11
_MOST_DROPPED_DIGITS = 3

_PART = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
_NAME_STARTS, _NAME_ENDS = r"(?:^|/)", r"\.[^./]+$"

_PLAIN = (
    r"^([^/]+/[^/]+)/",  # a folder in the top folder
    r"^(.+)/[^/]+$",  # the folder
    r"([^/]+)/[^/]+$",  # its name alone, whatever it lies in
    rf"{_NAME_STARTS}([^/_\-. ]+)[_\- ][^/]*$",  # up to the first separator
    r"^((?:.*/)?[^/_\-. ]+)[_\- ][^/]*$",
    rf"{_NAME_STARTS}([^/]+)[_\- ][^/_\-. ]*{_NAME_ENDS}",  # up to the last separator
    r"^((?:.*/)?[^/]+)[_\- ][^/_\-. ]*" + _NAME_ENDS,
    rf"{_NAME_STARTS}([^/]*[^/\d])\d+[^/\d]*{_NAME_ENDS}",  # up to the last number
    r"^((?:.*/)?[^/]*[^/\d])\d+[^/\d]*" + _NAME_ENDS,
)


def candidate_patterns(paths: Sequence[str]) -> list[str]:
    """Regular expressions with one group each, for `data.group_pattern`: the plainest first, whatever the paths' order.

    Args:
        paths: of images, from the data root, with `/`.
    """
    forms: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for path in paths:
        parts = _PART.findall(PurePosixPath(path).stem)
        if 0 < len(parts) <= _MOST_PARTS:
            forms[tuple(map(_form, parts))].append(parts)
    common = sorted(forms, key=lambda form: (-len(forms[form]), form))[:_MOST_FORMS]
    found: list[str] = []
    for form in common:
        if len(forms[form]) >= _LEAST_SHARE * len(paths):
            found += sorted(_of_form(forms[form]), key=len)
    return list(dict.fromkeys([*found, *_PLAIN]))


def _form(part: str) -> str:
    """What stands for a part in a form: a separator stands for itself."""
    return "0" if part.isdecimal() else "a" if part.isalpha() else part


def _of_form(names: Sequence[Sequence[str]]) -> Iterator[str]:
    """Candidates for names of one form."""
    columns = list(zip(*names, strict=True))
    parts = [_part(column) for column in columns]
    stretches = [place for place, column in enumerate(columns) if column[0].isalnum()]
    for first in stretches:
        before = "".join(parts[:first])
        for last in stretches:
            if last < first:
                continue
            inside, after = "".join(parts[first : last + 1]), "".join(parts[last + 1 :])
            yield f"{_NAME_STARTS}{before}({inside}){after}{_NAME_ENDS}"
            if first == 0:
                yield f"^((?:.*/)?{inside}){after}{_NAME_ENDS}"
            if not columns[last][0].isdecimal() or first not in (0, last):
                continue
            inside = "".join(parts[first:last])
            for dropped in range(1, _MOST_DROPPED_DIGITS + 1):
                yield rf"{_NAME_STARTS}{before}({inside}\d+)\d{{{dropped}}}{after}{_NAME_ENDS}"


def _part(column: Sequence[str]) -> str:
    """An expression for one part of all names of a form."""
    (first, count), *_ = Counter(column).most_common(1)
    if column[0].isdecimal():
        return r"\d+"
    return re.sub(r"[.^$*+?{}\[\]\\|()]", r"\\\g<0>", first) if count == len(column) else r"[^\W\d_]+"
