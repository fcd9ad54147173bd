"""What a person should know of the bursts that were found, and of clocks that were not set.

In: an index. Out: sentences. Owns no file.
"""

import pandas as pd

from bestiary.plurals import counted

# So many photos of one camera at one moment are no burst, but the default of a clock that was not set.
_MOST_AT_ONCE = 10


def burst_notes(index: pd.DataFrame) -> list[str]:
    """Sentences on bursts, a line each; none where nobody asked for them."""
    if "burst" not in index or not (index["taken_at"] != "").any():
        return []
    read = index[index["error"] == ""]
    sizes = read.loc[read["burst"] != "", "burst"].value_counts()
    timeless = int((read["taken_at"] == "").sum())
    found = "no bursts: no camera took two images within data.burst_s"
    if len(sizes):
        of = f"{sizes.min():,}" if sizes.min() == sizes.max() else f"{sizes.min():,} to {sizes.max():,}"
        stay = "stays in one split" if len(sizes) == 1 else "stay in one split each"
        found = f"{counted(len(sizes), 'burst')} of {of} images {stay} (data.burst_s)"
    lines = [
        f"{found}; {counted(timeless, 'image')} {'has' if timeless == 1 else 'have'} no time" if timeless else found
    ]
    at_once = read[read["taken_at"] != ""].groupby(["camera", "taken_at"]).size().sort_values(ascending=False)
    if len(at_once) and (most := int(at_once.iloc[0])) >= _MOST_AT_ONCE:
        camera, time = at_once.index[0]
        of_camera = f" of camera {camera!r}" if camera else ""
        lines.append(
            f"{most:,} images{of_camera} have the very time {time}, as from a clock that was not set: they count as "
            "one burst. If they are not, give their times (data.time_column), or leave the cells empty"
        )
    return lines
