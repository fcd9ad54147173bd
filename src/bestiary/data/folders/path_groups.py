"""Groups from names: which images belong together by what their paths say.

In: paths and `data.group_pattern`. Out: a group for each path. Owns no file.
"""

import re
from collections.abc import Sequence

from bestiary.errors import ConfigError

# The named group that counts; without it the first one does.
NAME = "group"


def path_groups(paths: Sequence[str], pattern: str) -> list[str]:
    r"""What a regular expression finds in each path: `(patient\d+)_` puts `a/patient7_2.png` into `patient7`.

    Args:
        paths: relative to the data root, with `/`.
        pattern: searched for in the whole path, folders included. Its group `(?P<group>...)` counts, or its first.

    Returns:
        A group for each path; "" where the pattern is not found, or its group is empty.

    Raises:
        ConfigError: the pattern is no regular expression, has no group, or is found in no path.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.group_pattern: {pattern!r} is no regular expression: {error}") from error
    if not compiled.groups:
        raise ConfigError(
            f"data.group_pattern: {pattern!r} has no group. Put brackets around what images of one group share, as in "
            r"(patient\d+)_"
        )
    which: str | int = NAME if NAME in compiled.groupindex else 1
    found = [compiled.search(path) for path in paths]
    groups = [(match[which] or "") if match else "" for match in found]
    if paths and not any(groups):
        raise ConfigError(f"data.group_pattern: {pattern!r} is found in no path; the first path is {paths[0]!r}")
    return groups
