"""Near duplicates: photos that show the same, byte for byte or after re-encoding, resizing, cropping or mirroring.

In: images, small grey pictures and features of them. Out: clusters, and `duplicates.parquet`, which this
module owns: `image_id, cluster_id, picture_id, similarity, exact, kind, least`, one row a member of a cluster of two or
more. `picture_id` is shared by members that are one picture, `similarity` in [0, 1] is that to the member it is most
like (see `similarity`), `exact` whether another member has its very bytes, `kind` whether another member is the same
picture (see `kinds_of_copies`), `least` the threshold of this set.

A cluster is one picture or one scene. In a set that is alike throughout, a scene may hold pictures several times (see
`certain`): then some of its members are of one kind, and some of the other.

Pairs that are alike enough for this set (see `threshold`) form clusters around medoids, so that nothing chains (see
`medoids`). Labels play no part, nor does the order of images: a cluster is named after the contents of its members.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.copies.alignment import Pairs, Pictures, Values
from bestiary.audit.copies.candidates import candidate_pairs
from bestiary.audit.copies.certain import certain_pairs, shows_more
from bestiary.audit.copies.closer import Loader
from bestiary.audit.copies.kinds_of_copies import SAME_PICTURE, SAME_SCENE, Colours, colours_agree, kinds
from bestiary.audit.copies.medoids import around_medoids
from bestiary.audit.copies.similarity import similarities
from bestiary.audit.copies.threshold import LEAST_SIMILARITY, near_duplicate_threshold
from bestiary.audit.neighbours import Features, Neighbours
from bestiary.data.groups import connected
from bestiary.progress import SILENT, Progress
from bestiary.store.hashing import fingerprint as hash_of
from bestiary.store.tables import read_table, write_table

FILE_NAME = "duplicates.parquet"
COLUMNS = ("image_id", "cluster_id", "picture_id", "similarity", "exact", "kind", "least")


def find_duplicates(
    images: pd.DataFrame,
    pictures: Pictures,
    features: Features | None,
    *,
    neighbours: Neighbours | None = None,
    colours: Colours | None = None,
    load: Loader | None = None,
    sides_px: npt.NDArray[np.int64] | None = None,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """The clusters of copies among images.

    Args:
        images: `image_id`, `sha256` and `phash`, one row an image.
        pictures: `(n, 64, 64) uint8`, in the order of rows; see `image_statistics`.
        features: `(n, d) float32`; without them only pairs with close hashes are candidates.
        colours: `(n, 3)`, see `kinds_of_copies.kinds`.
        load: gives larger pictures of rows, `(k, 192, 192) uint8` (see `closer`); without, 64 pixels must do.
        sides_px: short sides `(n,)`, which say whether larger pictures show more; without, they do.
        neighbours: of the features, ten or more an image; found here where they are not given.
        progress: counts the pairs compared.

    Returns:
        See the module's head; in the order of rows.
    """
    # One image stands for all of the same bytes. In the order of contents, so that the order of rows decides nothing.
    contents, first, own = np.unique(images["sha256"].to_numpy(dtype=str), return_index=True, return_inverse=True)
    pairs, similarity, least = _near_pairs(
        images["phash"].iloc[first],
        pictures[first],
        None if features is None else features[first],
        None if neighbours is None else _of_contents(neighbours, first, own),
        progress,
    )
    pictures = pictures[first]
    larger = None if load is None else lambda places: load(first[places])
    copies = similarity >= least
    cluster = around_medoids(
        len(contents),
        pairs[copies],
        similarity[copies],
        compare=lambda further: similarities(pictures, further),
        least=least,
    )
    if larger is not None and least > LEAST_SIMILARITY and (sides_px is None or shows_more(sides_px)):
        certain = certain_pairs(pictures, pairs, similarity, larger)
        if colours is not None:
            number = np.repeat(np.arange(len(pairs)), 2)
            certain &= colours_agree(colours[first][pairs.ravel()], number, len(pairs))
        picture = connected(len(contents), pairs[certain])
        cluster = _joined(cluster, picture)
        copies |= certain
    else:
        picture = None
    pairs, similarity = pairs[copies], similarity[copies]
    inside = cluster[pairs[:, 0]] == cluster[pairs[:, 1]]
    pairs, similarity = pairs[inside], similarity[inside]
    most_like = np.zeros(len(contents), dtype=np.float32)
    for column in (0, 1):
        np.maximum.at(most_like, pairs[:, column], similarity)
    exact = np.bincount(own, minlength=len(contents))[own] > 1
    if picture is None:
        kind = kinds(
            pictures,
            cluster,
            np.clip(most_like, 0, 1),
            colours=None if colours is None else colours[first],
            least=least,
            pairs=_most_alike(pairs, similarity, most_like),
            load=larger,
        )[own]
        picture = np.where(kind[first] == SAME_PICTURE, cluster, cluster.max(initial=0) + 1 + np.arange(len(contents)))
    else:
        kind = np.where(np.bincount(picture[own])[picture[own]] > 1, SAME_PICTURE, SAME_SCENE)
    table = pd.DataFrame(
        {
            "image_id": images["image_id"].to_numpy(),
            "cluster_id": _names(contents, cluster)[own],
            "picture_id": _names(contents, np.unique(picture, return_inverse=True)[1])[own],
            "similarity": np.where(exact, np.float32(1), np.clip(most_like, 0, 1)[own]),
            "exact": exact,
            "kind": kind,
            "least": np.float32(least),
        }
    )
    return table[table["cluster_id"].duplicated(keep=False)].reset_index(drop=True)[list(COLUMNS)]


def _near_pairs(
    hashes: pd.Series,
    pictures: Pictures,
    features: Features | None,
    neighbours: Neighbours | None,
    progress: Progress,
) -> tuple[Pairs, Values, float]:
    """Pairs of different contents that are alike, how alike they are, and the threshold of copies."""
    numbers = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    pairs = candidate_pairs(numbers, pictures, features, neighbours=neighbours)
    similarity = similarities(pictures, pairs, progress=progress)
    alike = similarity >= LEAST_SIMILARITY
    pairs, similarity = pairs[alike], similarity[alike]
    return pairs, similarity, near_duplicate_threshold(pictures, pairs)


def _joined(cluster: npt.NDArray[np.int64], picture: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Clusters, with those that share a picture as one."""
    count = len(cluster)
    own = np.arange(count)
    of_cluster, of_picture = (
        np.unique(names, return_index=True, return_inverse=True)[1:] for names in (cluster, picture)
    )
    links = [np.stack([own, first[number]], axis=1) for first, number in (of_cluster, of_picture)]
    return connected(count, np.concatenate(links))


def _most_alike(pairs: Pairs, similarity: Values, most_like: Values) -> Pairs:
    """Of each member the pair with the one that it is most like."""
    ends = (similarity >= most_like[pairs[:, column]] for column in (0, 1))
    return pairs[np.logical_or(*ends)]


def _of_contents(neighbours: Neighbours, first: npt.NDArray[np.int64], own: npt.NDArray[np.int64]) -> Neighbours | None:
    """Neighbours of images as those of contents; None where some have the same bytes, and are neighbours themselves."""
    if len(first) < len(own):
        return None
    return Neighbours(own[neighbours.indices[first]], neighbours.cosines[first])


def _names(contents: npt.NDArray[np.str_], cluster: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    """A name for the cluster of each content, made of the first content in it."""
    first = contents[np.unique(cluster, return_index=True)[1]]
    return np.array([f"d{hash_of([content])[:10]}" for content in first], dtype=object)[cluster]


def duplicate_groups(table: pd.DataFrame, image_ids: pd.Series) -> npt.NDArray[np.int64]:
    """The group of copies that each image belongs to: `(n,) int64`; an image without copies is one of its own.

    Args:
        table: clusters; it may name other images too.
        image_ids: of the images, in the order wanted.
    """
    cluster = image_ids.map(table.set_index("image_id")["cluster_id"])
    return pd.factorize(cluster.where(cluster.notna(), image_ids))[0].astype(np.int64)


def duplicates_fingerprint(images: pd.DataFrame, settings: object) -> str:
    """Changes with the images' contents and with what features are compared; not with labels."""
    return hash_of([images[["image_id", "sha256"]].to_numpy().tolist(), settings, "rules 10"])


def write_duplicates(study_dir: Path, table: pd.DataFrame, *, fingerprint: str) -> None:
    """Write `duplicates.parquet`."""
    write_table(study_dir / FILE_NAME, table, fingerprint=fingerprint)


def read_duplicates(study_dir: Path) -> pd.DataFrame:
    """Read `duplicates.parquet`."""
    return read_table(study_dir / FILE_NAME)
