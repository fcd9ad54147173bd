"""Doubted labels: training images that no model is fitted on, where the config asks for that.

In: images with splits, and the audit's findings. Out: the images, without a split where they are left out. No file.
"""

import pandas as pd


def without_doubted(images: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Leave out of train what the audit doubts with high severity; a class keeps its images where half would go.

    Args:
        images: `image_id, label, split`.
        findings: the audit's, of the same labels: those that a person has confirmed are not among them.

    Returns:
        The images; `split` is "" where one is left out. Val and test are untouched.
    """
    named = findings[(findings["issue"] == "label_error") & (findings["severity"] == "high")]["image_id"]
    train = images["split"] == "train"
    doubted = train & images["image_id"].isin(named)
    share = doubted[train].groupby(images.loc[train, "label"]).mean()
    doubted &= images["label"].map(share).fillna(0.0) < 0.5
    return images.assign(split=images["split"].mask(doubted, ""))
