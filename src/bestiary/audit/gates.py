"""Gates: what the parts of the audit need before they state anything, and the reason where they have not got it.

In: groups, classes, the probe's skill. Out: sentences; "" where a part can speak. Owns no file. The gates of labels are
in `labels.gate`.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.outliers import FEWEST_IMAGES
from bestiary.audit.shortcuts import FEWEST
from bestiary.evaluate.intervals import Interval

# Of fewer leaked test images a difference in accuracy is one of chance.
_FEWEST_LEAKED = 5.0


def why_no_outliers(groups: npt.NDArray[np.int64]) -> str:
    """Why outliers are not looked for.

    Args:
        groups: `(n,) int64`; copies count once.
    """
    count = len(np.unique(groups))
    if count >= FEWEST_IMAGES:
        return ""
    return f"outliers ({count} images that are not alike; {FEWEST_IMAGES} are needed to say what is usual)"


def why_no_shortcuts(labels: pd.Series, groups: npt.NDArray[np.int64]) -> str:
    """Why shortcuts are not looked for.

    Args:
        labels: `(n,)`.
        groups: `(n,) int64`, of the same images.
    """
    judged = int((pd.Series(groups).groupby(labels.to_numpy()).nunique() >= FEWEST).sum())
    if judged >= 2:
        return ""
    return f"shortcuts (they need two classes of {FEWEST} images that are not alike)"


def why_no_gain(skill: Interval | None, leaked_images: float) -> str:
    """Why it is not said what copies do to accuracy; how many images a plain split leaks is said all the same.

    Args:
        skill: of `labels.gate.probe_skill`; None: no label was judged.
        leaked_images: test images with a copy in train, a mean over splits.
    """
    if not leaked_images:
        return ""
    if leaked_images < _FEWEST_LEAKED:
        return "What they do to test accuracy was not measured: they are too few."
    if skill is None or not skill.low > 0:
        return (
            "What they do to test accuracy was not measured: the probe is not significantly better than chance "
            "(balanced accuracy)."
        )
    return ""
