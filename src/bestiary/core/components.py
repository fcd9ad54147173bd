"""Components: what hangs together by pairs.

In: pairs of places. Out: a number for each place. Owns no file.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd


def connected(count: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The connected component of each of `count` places, numbered from 0 in the order of their first: `(count,)`.

    Args:
        count: how many places.
        pairs: `(m, 2)`, of places that hang together.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return pd.factorize(connected_components(graph, directed=False)[1])[0].astype(np.int64)
