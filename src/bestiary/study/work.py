"""A study at work: which stages are current, and making those that are not.

In: a snapshot of a study's folder, held by this process. Out: the snapshot, with what was made. Owns no file: each
stage (see `stages`) names the module that owns its own.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bestiary.config.schema import StudyConfig
from bestiary.errors import StudyError
from bestiary.progress import Progress
from bestiary.snapshot import Snapshot, StudyPaths

# What is remembered of the models.
_OF_MODELS = ("fit keys", "fold keys", "seed keys", "weights digests", "figure keys")


@dataclass(frozen=True)
class Stage:
    """One step of a study, declared once in `stages.STAGES`.

    Attributes:
        name: by which other stages need it.
        command: `bestiary COMMAND STUDY` makes it.
        makes: what it is called in messages.
        needs: the stages that must be current before it, given the study's config.
        key: of its inputs, computed at most once a command; the report asks for the audit's where there is none, too.
        is_there: whether anything of it lies in the folder.
        is_current: whether what lies there is of this key, and whole.
        make: makes it of this key, writes it, and hands it to the snapshot.
        in_run: whether a whole study makes it, asked in its turn.
        on_demand: it takes no time to speak of: whoever needs it makes it.
        always: its own command runs it in any case; `make` does no more than is needed.
    """

    name: str
    command: str
    makes: str
    needs: Callable[["Work"], tuple[str, ...]]
    key: Callable[["Work"], str]
    is_there: Callable[[StudyPaths], bool]
    is_current: Callable[["Work", str], bool]
    make: Callable[["Work", str], None]
    in_run: Callable[["Work"], bool] = lambda work: True
    on_demand: bool = False
    always: bool = False


class Work:
    """One command's work on a study.

    Attributes:
        snapshot: what lies in the folder.
        progress: told of every stage.
        redraw: whether the split may be drawn again.
        is_whole: whether the whole study is made: the models of the config will be fitted in any case.
        started: when, of `time.monotonic()`.
        config_as_given: the study's config without the models that a search has found.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        stages: Mapping[str, Stage],
        *,
        progress: Progress,
        redraw: bool = False,
        models: tuple[str, ...] = (),
        config: StudyConfig | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.progress = progress
        self.redraw = redraw
        self.is_whole = False
        self.started = time.monotonic()
        self.config_as_given = config or snapshot.config
        self._asked = models
        self._stages = stages
        self._keys: dict[str, str] = {}
        self._current: set[str] = set()
        self.memory: dict[str, Any] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are asked for; all where none is named."""
        return self._asked or tuple(self.snapshot.config.models)

    def adopt(self, config: StudyConfig) -> None:
        """Go on with a config that has other models: what follows from the models is derived anew."""
        self.snapshot.config = config
        self._keys.clear()
        self.memory = {name: value for name, value in self.memory.items() if name not in _OF_MODELS}
        self._current -= {"train"}

    @property
    def paths(self) -> StudyPaths:
        """Where everything lies."""
        return self.snapshot.paths

    def key(self, name: str) -> str:
        """The key of a stage's inputs, computed once."""
        if name not in self._keys:
            self._keys[name] = self._stages[name].key(self)
        return self._keys[name]

    def forget(self, name: str) -> None:
        """The key of a stage that holds what it made is computed anew."""
        self._keys.pop(name, None)

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """A value that several stages need, computed once."""
        if name not in self.memory:
            self.memory[name] = compute()
        return self.memory[name]

    def bring(self, name: str) -> None:
        """Make a stage unless it is current.

        Raises:
            StudyError: a stage that it needs is missing or outdated.
        """
        stage = self._stages[name]
        for needed in stage.needs(self):
            self.need(needed)
        if stage.always or not (name in self._current or stage.is_current(self, self.key(name))):
            stage.make(self, "" if stage.always else self.key(name))
        self._current.add(name)

    def need(self, name: str) -> None:
        """See that a stage is current; what takes no time is made.

        Raises:
            StudyError: it is missing or outdated; names the command that makes it.
        """
        if name in self._current:
            return
        stage = self._stages[name]
        if stage.on_demand:
            self.bring(name)
            return
        for needed in stage.needs(self):
            self.need(needed)
        folder = self.paths.folder
        if not stage.is_there(self.paths):
            raise StudyError(f"{folder} has no {stage.makes} yet: run `bestiary {stage.command} {folder}`")
        if not stage.is_current(self, self.key(name)):
            raise StudyError(
                f"the {stage.makes} of {folder} is outdated: data, decisions or settings changed since. "
                f"Run `bestiary {stage.command} {folder}`"
            )
        self._current.add(name)
