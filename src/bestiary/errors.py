"""Every error that bestiary raises on purpose.

    BestiaryError                 something bestiary can name; exit code 1
    ├── UsageError                the call itself is wrong; exit code 2
    │   ├── ConfigError           study.toml or --set: a key, a type or a pair that cannot be
    │   └── StudyConflictError    the output folder holds something else
    ├── DataError                 the data as a whole cannot be used
    │   ├── ImageError            one file is not a readable image
    │   ├── SplitError            a class or a group cannot be split as asked
    │   └── CorrectionsError      corrections.csv: a row that cannot be, or that another row contradicts
    ├── WeightsError              weights are missing, altered or do not fit
    │   └── HubUnreachableError   the model hub did not answer
    ├── TrainingError             a model's loss became no number
    │   └── CannotCutError        a network has no boundary at which activations could be kept
    ├── StudyError                a stage is missing, or the study is in use
    └── BundleError               an exported model is incomplete or altered

Each message names the file or key, and the fix. Nothing else in the package defines an exception.
"""


class BestiaryError(Exception):
    """The root: catch it to catch everything that bestiary raises on purpose."""

    exit_code = 1


class UsageError(BestiaryError):
    """The command or call cannot be carried out as written."""

    exit_code = 2


class ConfigError(UsageError):
    """A study's configuration has an unknown key, a wrong type or an impossible pair."""


class StudyConflictError(UsageError):
    """The output folder belongs to a study of other data or another configuration."""


class DataError(BestiaryError):
    """The data cannot be used: no such folder, no classes, too few images."""


class ImageError(DataError):
    """One file cannot be read as an image; the message is the reason alone."""


class SplitError(DataError):
    """A class or a group is too small to be split as asked."""


class CorrectionsError(DataError):
    """`corrections.csv` has a row that cannot be carried out, or two that disagree."""


class WeightsError(BestiaryError):
    """Model weights are missing, altered or do not fit the architecture."""


class HubUnreachableError(WeightsError):
    """The model hub did not answer and the weights are in no local cache."""


class TrainingError(BestiaryError):
    """Training diverged at once: the loss is no number after the first epoch."""


class CannotCutError(TrainingError):
    """A network cannot be cut where its training begins; the message is the reason alone."""


class StudyError(BestiaryError):
    """A stage that must come first has not run, or another process holds the study."""


class BundleError(BestiaryError):
    """An exported model folder is incomplete, altered or of an unknown version."""
