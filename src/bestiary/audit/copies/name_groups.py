"""Groups that file names suggest: the pattern whose groups hold the copies and scenes that the audit found.

In: images, and clusters of copies. Out: a `Proposal` for `data.group_pattern`, or the reason why there is none. Owns no
file.

A pattern is judged by its *coverage*: of the pairs of different images in one cluster, the share that it puts into one
group, each image counting the same however large its cluster. Beside it stands what chance gives: the coverage that is
expected where the names of each class are dealt anew among its images. That is exact, by counting. Groups that are
classes, or large parts of the data, have a high chance, and no pattern of such is proposed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.data.folders.name_patterns import candidate_patterns
from bestiary.data.folders.path_groups import path_groups
from bestiary.errors import ConfigError
from bestiary.plurals import counted

LEAST_COVERAGE = 0.8
# How much of the way from chance to all pairs a pattern must go.
_LEAST_EXCESS = 0.75
_FEWEST_CLUSTERS = _FEWEST_GROUPS = 10
# A group that has more of a class than a test side usually has cannot be split with it; few images may lie in such.
_LARGE_GROUP, _MOST_IN_LARGE = 0.2, 0.25
# Patterns whose coverages are this near to the best are taken for as good, and the one with the finest groups wins.
_AS_GOOD = 0.02


@dataclass(frozen=True)
class Proposal:
    """What names say of groups.

    Attributes:
        pattern: for `data.group_pattern`, or "" where none is proposed.
        reason: the figures of the pattern, or why there is none, in a sentence without its full stop.
        examples: of a proposed pattern, up to three groups: a name, and the paths of its first images.
    """

    pattern: str
    reason: str
    examples: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class _Judged:
    """A pattern's figures. `sizes`: of its groups of two and more; `in_large`: the share of images in large groups."""

    pattern: str
    groups: tuple[str, ...]
    coverage: float
    chance: float
    sizes: tuple[int, ...]
    in_large: float

    @property
    def is_close(self) -> bool:
        """Whether its groups hold the clusters, and that is not chance."""
        excess = self.coverage - self.chance
        return self.coverage >= LEAST_COVERAGE and excess > 0.01 and excess >= _LEAST_EXCESS * (1 - self.chance)

    @property
    def refusal(self) -> str:
        """Why its groups are of no use for a split; "" where they are."""
        if len(self.sizes) < _FEWEST_GROUPS:
            return (
                f"it makes {counted(len(self.sizes), 'group')} of two or more images, and fewer than {_FEWEST_GROUPS}"
            )
        if self.in_large > _MOST_IN_LARGE:
            return (
                f"{_percent(self.in_large)} of the images lie in groups that have more than {_percent(_LARGE_GROUP)} "
                "of their class, too large to be split"
            )
        return ""


def propose_pattern(images: pd.DataFrame, clusters: pd.DataFrame) -> Proposal:
    """Look for a pattern of names whose groups hold the clusters of copies and scenes.

    Args:
        images: readable ones, with `image_id`, `path`, `label`, `sha256` and `group_given`.
        clusters: of `clusters.find_duplicates`.
    """
    if (images["group_given"] != "").any():
        return Proposal("", "data.group_column or data.group_pattern says already which images belong together")
    cluster = images["image_id"].map(clusters.set_index("image_id")["cluster_id"]).to_numpy(dtype=object)
    # Of the same bytes one is enough: their names say nothing of how the photos were taken.
    first = ~images["sha256"].duplicated().to_numpy() & pd.notna(cluster)
    places = np.flatnonzero(first)
    sizes = pd.Series(cluster[places]).value_counts()
    several = sizes[sizes > 1]
    if len(several) < _FEWEST_CLUSTERS:
        found = counted(len(several), "cluster")
        return Proposal("", f"the audit found {found} of copies and scenes, too few of {_FEWEST_CLUSTERS} to judge by")
    places = places[np.isin(cluster[places], several.index)]
    paths = images["path"].tolist()
    labels = images["label"].to_numpy(dtype=object)
    pairs = _Pairs(places, cluster[places], labels)
    judged = [_judge(pattern, paths, labels, pairs) for pattern in candidate_patterns(paths)]
    return _chosen([one for one in judged if one is not None], paths, clusters=len(several))


class _Pairs:
    """Pairs of images of one cluster: places `(m, 2)`, and the weight of each, which sums to 1 over all."""

    def __init__(
        self, places: npt.NDArray[np.int64], cluster: npt.NDArray[np.object_], labels: npt.NDArray[np.object_]
    ) -> None:
        left, right, weight = [], [], []
        for _, members in pd.Series(places).groupby(cluster, sort=True):
            rows, columns = np.triu_indices(len(members), k=1)
            left.append(members.to_numpy()[rows])
            right.append(members.to_numpy()[columns])
            weight.append(np.full(len(rows), 2 / (len(members) - 1)))
        self.places = np.stack([np.concatenate(left), np.concatenate(right)], axis=1)
        self.weight = np.concatenate(weight) / np.concatenate(weight).sum()
        self.labels = Counter[tuple[str, str]]()
        for (one, other), share in zip(labels[self.places].tolist(), self.weight.tolist(), strict=True):
            self.labels[one, other] += share


def _judge(pattern: str, paths: Sequence[str], labels: npt.NDArray[np.object_], pairs: _Pairs) -> _Judged | None:
    """The figures of a pattern; None where no path has it."""
    try:
        groups = path_groups(paths, pattern)
    except ConfigError:
        return None
    names = np.array(groups, dtype=object)
    left, right = names[pairs.places].T
    coverage = float(pairs.weight[(left == right) & (left != "")].sum())
    sizes = pd.Series(names[names != ""]).value_counts()
    return _Judged(
        pattern=pattern,
        groups=tuple(groups),
        coverage=coverage,
        chance=_chance(names, labels, pairs),
        sizes=tuple(int(size) for size in sizes if size > 1),
        in_large=_share_in_large(names, labels),
    )


def _chance(names: npt.NDArray[np.object_], labels: npt.NDArray[np.object_], pairs: _Pairs) -> float:
    """The coverage that is expected where the names of each class are dealt anew among its images."""
    of_class = {label: Counter(names[labels == label].tolist()) for label in set(labels.tolist())}
    expected = 0.0
    for (one, other), share in pairs.labels.items():
        mine, yours = of_class[one], of_class[other]
        count, others = mine.total(), yours.total() - (one == other)
        same = sum(size * (yours[name] - (one == other)) for name, size in mine.items() if name)
        expected += share * same / (count * others)
    return expected


def _share_in_large(names: npt.NDArray[np.object_], labels: npt.NDArray[np.object_]) -> float:
    """The share of images whose group has a large part of their class; one image alone is no large group."""
    table = pd.DataFrame({"name": names, "label": labels})
    of_group = table.groupby(["name", "label"])["label"].transform("size").to_numpy()
    of_class = table.groupby("label")["label"].transform("size").to_numpy()
    return float(np.mean((names != "") & (of_group > 1) & (of_group > _LARGE_GROUP * of_class)))


def _chosen(judged: Sequence[_Judged], paths: Sequence[str], *, clusters: int) -> Proposal:
    close = [one for one in judged if one.is_close]
    fitting = [one for one in close if not one.refusal]
    if fitting:
        best = max(one.coverage for one in fitting)
        as_good = [one for one in fitting if one.coverage >= best - _AS_GOOD]
        return _proposal(min(as_good, key=lambda one: round(one.chance, 6)), paths)
    if close:
        one = max(close, key=lambda one: len(one.sizes))
        return Proposal(
            "", f"'{one.pattern}' holds {_percent(one.coverage)} of the pairs of copies and scenes, but {one.refusal}"
        )
    # What large groups hold says nothing: the best is that which is farthest beyond chance.
    one = max(judged, key=lambda one: one.coverage - one.chance)
    others = f", the best {_percent(one.coverage)}, where chance gives {_percent(one.chance)}" if one.coverage else ""
    return Proposal(
        "",
        f"of the {clusters:,} clusters of copies and scenes, no pattern in the names has {_percent(LEAST_COVERAGE)} of "
        f"the pairs in groups of its own{others}",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share == 0 or share >= 0.1 else 1}f} %"


def _proposal(one: _Judged, paths: Sequence[str]) -> Proposal:
    groups = pd.Series(paths).groupby(np.array(one.groups, dtype=object)).agg(sorted)
    shown = [(str(name), tuple(members[:3])) for name, members in groups.items() if name and len(members) > 1]
    largest, smallest = max(one.sizes), min(one.sizes)
    of = f"{largest:,}" if largest == smallest else f"{smallest:,} to {largest:,}"
    hold = f"{_percent(one.coverage)} of the pairs of copies and scenes ({_percent(one.chance)} by chance)"
    return Proposal(
        one.pattern,
        f"{counted(len(one.sizes), 'group')} of {of} images, which hold {hold}",
        tuple(shown[:3]),
    )
