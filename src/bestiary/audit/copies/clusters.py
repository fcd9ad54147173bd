"""Near duplicates: photos that show the same, byte for byte or after re-encoding, resizing, cropping or mirroring.

In: images, small grey pictures and features of them. Out: clusters, and `duplicates.parquet`, which this
module owns: `image_id, cluster_id, similarity, exact`, one row a member of a cluster of two or more; `similarity` in
[0, 1] is that to the member it is most like, `exact` whether another member has its very bytes.

Candidates are pairs with close perceptual hashes, mirrored or not, and near neighbours in feature space; of each image
only so many, so that searches of windows and memory grow with the images also where all are alike. Each pair is
confirmed by laying the small pictures over one another (see `aligned`), and by the features, which know what a photo
shows but not which photo it is. How alike a pair has to be depends on the set (see `usual`). Clusters are connected
components of the confirmed pairs. Labels play no part.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.copies.alignment import Pairs, Pictures, Values, best_correlation, direct_correlation, wholes
from bestiary.audit.copies.threshold import LEAST, Hashes, needed_correlation
from bestiary.audit.neighbours import Features, Neighbours, nearest, normalised
from bestiary.data.groups import connected
from bestiary.progress import SILENT, Progress
from bestiary.store.hashing import fingerprint as hash_of
from bestiary.store.tables import read_table, write_table

FILE_NAME = "duplicates.parquet"
COLUMNS = ("image_id", "cluster_id", "similarity", "exact")

# Measured on 2,618 photos and 525 changed copies of them (docs/audit.md): of the true pairs none is missed by any step.
_HASH_BITS, _NEAREST_COSINE, _COSINE = 10, 0.7, 0.6
_NEIGHBOURS, _CLOSEST, _CLOSEST_SIDE = 10, 10, 16
_GLANCE, _COARSE, _FINE = (8, 0.6), (12, 0.07), 20
_WHOLE, _SURE = 32, 0.97
_HASH_BLOCK_BYTES = 64 * 2**20
_PAIRS_AT_ONCE = 8192


def find_duplicates(
    images: pd.DataFrame,
    pictures: Pictures,
    features: Features | None,
    *,
    neighbours: Neighbours | None = None,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """The clusters of copies among images.

    Args:
        images: `image_id`, `sha256` and `phash`, one row an image.
        pictures: `(n, 64, 64) uint8`, in the order of rows; see `looks`.
        features: `(n, d) float32`; without them only pairs with close hashes are candidates, and nothing but the
            pictures confirms them.
        neighbours: of the features, ten or more an image; found here where they are not given.
        progress: told of each pair compared.

    Returns:
        See the module's head. Clusters are numbered in the order of their first member.
    """
    near, similarity = _near_pairs(images, pictures, features, neighbours, progress)
    same = _equal_pairs(images["sha256"])
    pairs = np.concatenate([same, near])
    similarity = np.concatenate([np.ones(len(same), dtype=np.float32), similarity])
    count = len(images)
    cluster = connected(count, pairs)
    most_like = np.zeros(count, dtype=np.float32)
    for column in (0, 1):
        np.maximum.at(most_like, pairs[:, column], similarity)
    table = pd.DataFrame(
        {
            "image_id": images["image_id"].to_numpy(),
            "cluster": cluster,
            "similarity": np.clip(most_like, 0, 1),
            "exact": images["sha256"].duplicated(keep=False).to_numpy(),
        }
    )
    table = table[table["cluster"].duplicated(keep=False)].reset_index(drop=True)
    table.insert(1, "cluster_id", [f"d{number:06d}" for number in pd.factorize(table["cluster"])[0]])
    return table[list(COLUMNS)]


def _equal_pairs(digests: pd.Series) -> Pairs:
    """Each image with the first of the same bytes."""
    codes, _ = pd.factorize(digests)
    first = np.full(codes.max(initial=-1) + 1, -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    own = np.arange(len(codes))
    later = first[codes] != own
    return np.stack([first[codes][later], own[later]], axis=1)


def _near_pairs(
    images: pd.DataFrame,
    pictures: Pictures,
    features: Features | None,
    neighbours: Neighbours | None,
    progress: Progress,
) -> tuple[Pairs, Values]:
    """Confirmed pairs of different bytes, and how alike they are."""
    # One image of each content stands for all of it.
    alone = np.flatnonzero(~images["sha256"].duplicated().to_numpy())
    if len(alone) < len(images):
        pictures, neighbours = pictures[alone], None
        features = None if features is None else features[alone]
    hashes = _hashes(images["phash"].iloc[alone])
    pairs = _by_hash(hashes, pictures)
    if features is not None:
        neighbours = nearest(features, count=_NEIGHBOURS) if neighbours is None else neighbours
        close = np.argwhere(neighbours.cosines[:, :_NEIGHBOURS] >= _NEAREST_COSINE)
        by_features = np.stack([close[:, 0], neighbours.indices[close[:, 0], close[:, 1]]], axis=1)
        pairs = _confirmed(np.concatenate([pairs, by_features]), features)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    pairs, similarity = _laid_over(pictures, pairs, hashes, features, progress)
    return alone[pairs], similarity


def _laid_over(
    pictures: Pictures, pairs: Pairs, hashes: Hashes, features: Features | None, progress: Progress
) -> tuple[Pairs, Values]:
    """The pairs that correlate as needed, cheapest looks first; those alike as wholes need no search of windows."""
    side, least = _GLANCE
    pairs = pairs[direct_correlation(pictures, pairs, side=side) >= least]
    whole = direct_correlation(pictures, pairs, side=_WHOLE)
    coarse = whole.copy()

    def look(which: npt.NDArray[np.bool_]) -> None:
        with progress.track("comparing pictures", int(which.sum()), unit="pairs") as task:
            coarse[which] = best_correlation(pictures, pairs[which], side=_COARSE[0], task=task)

    look(whole < _SURE)
    alike = coarse >= LEAST
    needed = needed_correlation(pictures, hashes, features, pairs[alike], whole[alike])
    sure = whole >= max(needed, _SURE)
    if needed > _SURE:
        look((whole >= _SURE) & ~sure)
    # Nearer to 1 the two sizes differ less.
    margin = _COARSE[1] * (1 - needed) / (1 - LEAST)
    rest = pairs[~sure & (coarse >= needed - margin)]
    with progress.track("comparing closely", len(rest), unit="pairs") as task:
        similarity = best_correlation(pictures, rest, side=_FINE, task=task)
    rest, similarity = rest[similarity >= needed], similarity[similarity >= needed]
    return np.concatenate([pairs[sure], rest]), np.concatenate([whole[sure], similarity])


def _confirmed(pairs: Pairs, features: Features) -> Pairs:
    """The pairs whose features agree."""
    unit = normalised(features)
    agree = [pairs[:0]]
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        first, second = pairs[start : start + _PAIRS_AT_ONCE].T
        near = np.einsum("pd,pd->p", unit[first], unit[second]) >= _COSINE
        agree.append(pairs[start : start + _PAIRS_AT_ONCE][near])
    return np.concatenate(agree)


def _hashes(column: pd.Series) -> Hashes:
    return np.array([int(text, 16) for text in column], dtype=np.uint64)


def _by_hash(hashes: Hashes, pictures: Pictures) -> Pairs:
    """Pairs with close hashes: of each image the ten most alike of the later ones.

    All of a group of copies stay connected: each keeps a later one.
    """
    plain, mirrored = wholes(pictures, side=_CLOSEST_SIDE)
    found = [np.empty((0, 2), dtype=np.int64)]
    for start, close in _close_hashes(hashes):
        _keep_most_alike(close, start, plain, mirrored)
        found.append(np.argwhere(close) + start)
    return np.concatenate(found)


def _close_hashes(hashes: Hashes) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Which later hashes are within a few bits of each, as they are or mirrored: blocks, rows and columns from a start.

    Mirroring an image changes the sign of every other horizontal frequency, hence every other bit of its hash.
    """
    mirrored = hashes ^ np.uint64(0x5555555555555555)
    rows = max(1, _HASH_BLOCK_BYTES // (8 * max(len(hashes), 1)))
    for start in range(0, len(hashes), rows):
        block = hashes[start : start + rows, None]
        bits = (np.bitwise_count(block ^ others[None, start:]) for others in (hashes, mirrored))
        yield start, np.triu(np.minimum(*bits) <= _HASH_BITS, 1)


def _keep_most_alike(close: npt.NDArray[np.bool_], start: int, plain: Values, mirrored: Values) -> None:
    """Leave of each row, an image from `start` on, ten at most that are true: columns are images from `start` on."""
    many = np.flatnonzero(close.sum(axis=1) > _CLOSEST)
    if not len(many):
        return
    alike = np.maximum(plain[start + many] @ plain[start:].T, plain[start + many] @ mirrored[start:].T)
    alike[~close[many]] = -np.inf
    kept = np.argpartition(-alike, _CLOSEST, axis=1)[:, :_CLOSEST]
    close[many] = False
    close[many[:, None], kept] = True


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
    return hash_of([images[["image_id", "sha256"]].to_numpy().tolist(), settings, "rules 2"])


def write_duplicates(study_dir: Path, table: pd.DataFrame, *, fingerprint: str) -> None:
    """Write `duplicates.parquet`."""
    write_table(study_dir / FILE_NAME, table, fingerprint=fingerprint)


def read_duplicates(study_dir: Path) -> pd.DataFrame:
    """Read `duplicates.parquet`."""
    return read_table(study_dir / FILE_NAME)
