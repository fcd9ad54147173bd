"""What people decide about the images of a study, from Python.

In: a study's folder. Out: `corrections.csv`, through `data.corrections`. Owns no file.
"""

from collections.abc import Sequence

from bestiary.data.corrections.csv_rows import Correction, CorrectionAction
from bestiary.data.corrections.saved import change
from bestiary.study.contents import StudyContents


class CorrectableStudy(StudyContents):
    """A study's folder whose images may be decided about at any time: nothing is run, and no stage is waited for."""

    def decide(
        self,
        images: str | Sequence[str],
        action: CorrectionAction,
        label: str = "",
        *,
        issues: Sequence[str] = (),
        reviewed_by: str = "",
    ) -> list[Correction]:
        """Write decisions into `corrections.csv`, at once; what is there about these images is replaced.

        Args:
            images: paths or ids of the index, one or several.
            action: `relabel`, `drop`, `keep` or `apart` (no copy of the others in its cluster).
            label: the new class of a relabel; an `apart` may have one, too.
            issues: the findings that were looked at and let stand; of a keep without any it is all.
            reviewed_by: who decides.

        Returns:
            The rows that were replaced.

        Raises:
            CorrectionsError: the index has no such image or class.
        """
        index = self._read("index").index
        paths = dict(zip(index["path"], index["image_id"], strict=True))
        names = dict(zip(index["image_id"], index["path"], strict=True))
        rows = []
        for given in [images] if isinstance(images, str) else images:
            image_id = paths.get(given, given)
            row = Correction(image_id, names.get(image_id, ""), action, label, reviewed_by, issues=tuple(issues))
            rows.append(row)
        return change(self.path, decided=rows, index=index)

    def undo(self, images: str | Sequence[str]) -> list[Correction]:
        """Take the decisions about images back; returns the rows that went."""
        index = self._read("index").index
        paths = dict(zip(index["path"], index["image_id"], strict=True))
        given = [images] if isinstance(images, str) else images
        return change(self.path, undone=[paths.get(image, image) for image in given], index=index)
