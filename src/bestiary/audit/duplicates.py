"""Near duplicates: photos that show the same, byte for byte or after re-encoding, resizing, cropping or mirroring.

In: images, small grey pictures and features of them. Out: clusters, and `duplicates.parquet`, which this
module owns: `image_id, cluster_id, similarity, exact`, one row a member of a cluster of two or more; `similarity` in
[0, 1] is that to the member it is most like, `exact` whether another member has its very bytes.

Candidates are pairs with close perceptual hashes, mirrored or not, and near neighbours in feature space. Each pair is
confirmed by laying the small pictures over one another (see `aligned`), and by the features, which know what a photo
shows but not which photo it is. Clusters are connected components of the confirmed pairs. Labels play no part.

Some sets are alike throughout (scans, digits, frames of one scene). A pair therefore has to be far more alike than near
neighbours of the same set usually are.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.aligned import Pairs, Pictures, best_correlation, direct_correlation
from bestiary.audit.neighbours import Features, Neighbours, nearest, normalised
from bestiary.core.files import fingerprint as hash_of
from bestiary.core.tables import read_table, write_table

Places = npt.NDArray[np.int64]

FILE_NAME = "duplicates.parquet"
COLUMNS = ("image_id", "cluster_id", "similarity", "exact")

# Measured on 2,618 photos and 525 changed copies of them (docs/audit.md): of the true pairs none is missed by any step.
_HASH_BITS, _NEAREST_COSINE, _COSINE = 10, 0.7, 0.6
_NEIGHBOURS = 10
_GLANCE, _COARSE, _FINE = (8, 0.6), (12, 0.07), 20
_WHOLE, _SURE = 32, 0.97
_CORRELATION, _SHARE = 0.92, 0.16
_USUAL_PAIRS, _USUAL_RANK, _USUAL_SHARE = 400, 6, 0.02
_HASH_BLOCK_BYTES = 64 * 2**20
_PAIRS_AT_ONCE = 8192


def find_duplicates(
    images: pd.DataFrame, pictures: Pictures, features: Features | None, *, neighbours: Neighbours | None = None
) -> pd.DataFrame:
    """The clusters of copies among images.

    Args:
        images: `image_id`, `sha256` and `phash`, one row an image.
        pictures: `(n, 64, 64) uint8`, in the order of rows; see `looks`.
        features: `(n, d) float32`; without them only pairs with close hashes are candidates, and nothing but the
            pictures confirms them.
        neighbours: of the features, ten or more an image; found here where they are not given.

    Returns:
        See the module's head. Clusters are numbered in the order of their first member.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    near, similarity = _near_pairs(images, pictures, features, neighbours)
    same = _equal_pairs(images["sha256"])
    pairs = np.concatenate([same, near])
    similarity = np.concatenate([np.ones(len(same), dtype=np.float32), similarity])
    count = len(images)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    cluster = pd.factorize(connected_components(graph, directed=False)[1])[0]
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
    images: pd.DataFrame, pictures: Pictures, features: Features | None, neighbours: Neighbours | None
) -> tuple[Pairs, npt.NDArray[np.float32]]:
    """Confirmed pairs of different bytes, and how alike they are."""
    # One image of each content stands for all of it.
    alone = np.flatnonzero(~images["sha256"].duplicated().to_numpy())
    hashes = _hashes(images["phash"].iloc[alone])
    pairs = alone[_close_hashes(hashes)]
    if features is not None:
        if neighbours is None or len(alone) < len(images):
            neighbours = nearest(features[alone], count=_NEIGHBOURS)
        close = np.argwhere(neighbours.cosines[:, :_NEIGHBOURS] >= _NEAREST_COSINE)
        by_features = np.stack([close[:, 0], neighbours.indices[close[:, 0], close[:, 1]]], axis=1)
        pairs = _confirmed(np.concatenate([pairs, alone[by_features]]), features)
    usual = _usual_pairs(hashes, None if features is None else features[alone])
    needed = _needed_correlation(pictures, alone[usual])
    return _laid_over(pictures, np.unique(np.sort(pairs, axis=1), axis=0), needed)


def _laid_over(pictures: Pictures, pairs: Pairs, needed: float) -> tuple[Pairs, npt.NDArray[np.float32]]:
    """The pairs that correlate as needed, cheapest looks first; those alike as wholes need no search of windows."""
    side, least = _GLANCE
    pairs = pairs[direct_correlation(pictures, pairs, side=side) >= least]
    whole = direct_correlation(pictures, pairs, side=_WHOLE)
    sure = whole >= max(needed, _SURE)
    rest = pairs[~sure]
    side, margin = _COARSE
    rest = rest[best_correlation(pictures, rest, side=side) >= needed - margin]
    similarity = best_correlation(pictures, rest, side=_FINE)
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


def _usual_pairs(hashes: npt.NDArray[np.uint64], features: Features | None) -> Pairs:
    """Images of a sample, each with one that is near to it, but behind its copies; none where there are too few.

    Near is the 2 % rank, or the sixth: by features, or else by perceptual hash.
    """
    count = len(hashes)
    rank = max(_USUAL_RANK, round(_USUAL_SHARE * count))
    if count <= rank:
        return np.empty((0, 2), dtype=np.int64)
    sample = np.unique(np.linspace(0, count - 1, _USUAL_PAIRS).astype(np.int64))
    if features is None:
        far = np.bitwise_count(hashes[sample, None] ^ hashes[None]).astype(np.float32)
    else:
        unit = normalised(features)
        far = -(unit[sample] @ unit.T)
    far[np.arange(len(sample)), sample] = -np.inf
    near = np.argsort(far, axis=1, kind="stable")[:, rank]
    return np.stack([sample, near], axis=1)


def _needed_correlation(pictures: Pictures, usual: Pairs) -> float:
    """How alike copies have to be: far more than an image and one near to it usually are in this set."""
    if not len(usual):
        return _CORRELATION
    found = best_correlation(pictures, usual, side=_COARSE[0])
    return max(_CORRELATION, 1 - _SHARE * (1 - float(np.median(found))))


def _hashes(column: pd.Series) -> npt.NDArray[np.uint64]:
    return np.array([int(text, 16) for text in column], dtype=np.uint64)


def _close_hashes(hashes: npt.NDArray[np.uint64]) -> Pairs:
    """Pairs within a few bits, the second as it is or mirrored, block by block.

    Mirroring an image changes the sign of every other horizontal frequency, hence every other bit of its hash.
    """
    mirrored = hashes ^ np.uint64(0x5555555555555555)
    rows = max(1, _HASH_BLOCK_BYTES // (8 * max(len(hashes), 1)))
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(hashes), rows):
        for others in (hashes, mirrored):
            bits = np.bitwise_count(hashes[start : start + rows, None] ^ others[None, start:])
            first, second = np.nonzero(bits <= _HASH_BITS)
            later = first < second
            found.append(np.stack([first[later] + start, second[later] + start], axis=1))
    return np.concatenate(found)


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
    return hash_of([images[["image_id", "sha256"]].to_numpy().tolist(), settings, "rules 1"])


def write_duplicates(study_dir: Path, table: pd.DataFrame, *, fingerprint: str) -> None:
    """Write `duplicates.parquet`."""
    write_table(study_dir / FILE_NAME, table, fingerprint=fingerprint)


def read_duplicates(study_dir: Path) -> pd.DataFrame:
    """Read `duplicates.parquet`."""
    return read_table(study_dir / FILE_NAME)
