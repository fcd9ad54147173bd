"""Findings about copies: exact and near duplicates, copies that carry different labels, copies over given splits.

In: images and the clusters of `clusters`. Out: findings, and counts. Owns no file.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bestiary.audit.copies.kinds_of_copies import SAME_PICTURE, SAME_SCENE
from bestiary.audit.findings import Finding
from bestiary.config.schema import SPLITS


def copy_findings(images: pd.DataFrame, clusters: pd.DataFrame, *, use_given: bool = True) -> list[Finding]:
    """One finding a cluster and each picture in a scene, and a second where it lies in more than one given split.

    The finding stands at the member that is best kept: the largest, then the one of most bytes, then the first path.
    Images that are not among `images` (dropped ones) are skipped; a cluster of which one image is left is none.

    Args:
        images: `image_id, path, label, split_given, width_px, height_px, bytes, sha256`.
        clusters: see `clusters`.
        use_given: whether the study keeps the splits that came with the data; where it does not, they leak nothing.
    """
    members = _left(images, clusters)
    members = members.assign(area=members["width_px"] * members["height_px"]).sort_values(
        ["cluster_id", "area", "bytes", "path"], ascending=[True, False, False, True], kind="stable"
    )
    found: list[Finding] = []
    for cluster_id, cluster in members.groupby("cluster_id", sort=True):
        splits = [name for name in SPLITS if use_given and (cluster["split_given"] == name).any()]
        found += _of_cluster(str(cluster_id), cluster, splits, scene=bool(cluster["in_scene"].any()))
        # In a scene some pictures may stand several times.
        within = cluster[cluster["in_scene"] & (cluster["kind"] == SAME_PICTURE)]
        for _, picture in within.groupby("picture_id", sort=True):
            splits = [name for name in SPLITS if use_given and (picture["split_given"] == name).any()]
            found += _of_cluster(str(cluster_id), picture, splits, scene=False)
    return found


def count_copies(images: pd.DataFrame, clusters: pd.DataFrame, *, use_given: bool = True) -> dict[str, Any]:
    """How many copies there are.

    `clusters` of the same picture and `images` in them; `exact_images`, which share every byte with another; `scenes`,
    which are clusters of several pictures, and `scene_images` in them, which may be among `images` too; how many of
    each lie across given splits; `least_similarity` of copies in this set, 0 where there are none.

    Args:
        images: as in `copy_findings`.
        clusters: see `clusters`.
        use_given: as in `copy_findings`.
    """
    members = _left(images, clusters)
    scenes, pictures = members[members["in_scene"]], members[members["kind"] == SAME_PICTURE]

    def across(some: pd.DataFrame, name: str) -> int:
        given = some[some["split_given"].isin(SPLITS if use_given else ())]
        return int((given.groupby(name)["split_given"].nunique() > 1).sum())

    return {
        "clusters": int(pictures["picture_id"].nunique()),
        "images": len(pictures),
        "exact_images": int(members["sha256"].duplicated(keep=False).sum()),
        "scenes": int(scenes["cluster_id"].nunique()),
        "scene_images": len(scenes),
        "across_given_splits": across(pictures, "picture_id"),
        "least_similarity": float(members["least"].max()) if len(members) else 0.0,
        "scenes_across_given_splits": across(scenes, "cluster_id"),
    }


def _left(images: pd.DataFrame, clusters: pd.DataFrame) -> pd.DataFrame:
    """The members that are among `images`, of clusters that have two or more of them; `in_scene`: of several pictures.

    A member whose copies have all left is no copy any more, and of a scene that has only one picture left, none is.
    """
    members = images.merge(clusters, on="image_id", how="inner", validate="one_to_one")
    members = members[members["cluster_id"].duplicated(keep=False)]
    one = (members["kind"] == SAME_PICTURE) & members["picture_id"].duplicated(keep=False)
    several = members.groupby("cluster_id")["picture_id"].transform("nunique") > 1
    return members.assign(
        kind=members["kind"].where(one, SAME_SCENE), in_scene=several | (members["kind"] != SAME_PICTURE)
    )


def _of_cluster(cluster_id: str, cluster: pd.DataFrame, splits: Sequence[str], *, scene: bool) -> Iterator[Finding]:
    best, labels = cluster.iloc[0], cluster["label"].value_counts()
    exact = cluster["sha256"].nunique() == 1
    scene = scene and not exact
    alike = (
        "have the same bytes"
        if exact
        else "show the same scene, or are very much alike"
        if scene
        else "show the same photo"
    )
    about = {
        "image_id": best["image_id"],
        "path": best["path"],
        "label": best["label"],
        "related": tuple(cluster["image_id"].iloc[1:]),
        "cluster_id": cluster_id,
        "score": 1.0 if exact else float(cluster["similarity"].min()),
    }
    if len(splits) > 1:
        yield Finding(
            issue="leak",
            severity="medium" if scene else "high",
            action="split again",
            reason=f"{len(cluster)} files {alike} and lie in {' and '.join(splits)}: {_harm(splits, scene=scene)}",
            **about,
        )
    if scene:
        counts = ", ".join(f"{name} ({count})" for name, count in labels.items())
        yield Finding(
            issue="same_scene",
            severity="medium" if len(labels) > 1 else "low",
            action="keep together",
            reason=f"{len(cluster)} files {alike}{_how_alike(cluster, exact=exact)}"
            + (f". They are labelled differently: {counts}" if len(labels) > 1 else ""),
            **about,
        )
    elif len(labels) > 1:
        counts = ", ".join(f"{name} ({count})" for name, count in labels.items())
        most = labels.index[0] if labels.iloc[0] > labels.iloc[1] else ""
        yield Finding(
            issue="label_conflict",
            severity="high",
            action="relabel",
            suggestion="" if most == best["label"] else most,
            reason=f"{len(cluster)} files {alike} and are labelled differently: {counts}",
            **about,
        )
    else:
        yield Finding(
            issue="exact_duplicate" if exact else "near_duplicate",
            severity="low",
            action="keep one",
            reason=f"{len(cluster)} files {alike}{_how_alike(cluster, exact=exact)}",
            **about,
        )


def _harm(splits: Sequence[str], *, scene: bool) -> str:
    if scene:
        first, second = ("scored", "trained on") if {"train", "test"} <= set(splits) else ("in one", "in the other")
        return f"what is {first} may be much like what is {second}"
    if "test" not in splits:
        return "what chooses among models was trained on"
    return "what is scored was trained on" if "train" in splits else "what is scored chose among models"


def _how_alike(cluster: pd.DataFrame, *, exact: bool) -> str:
    if exact:
        return ""
    equal = int(cluster["sha256"].duplicated(keep=False).sum())
    text = f"; the least alike of them correlate by {cluster['similarity'].min():.2f}"
    return text + (f", {equal} have the bytes of another" if equal else "")
