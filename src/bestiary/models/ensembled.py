"""The learner of an ensemble: the learners of its members, and their shares.

In: images. Out: a `Mixture`. Fitted by nobody: it is put together of what others fitted (see `runs.composing`), and can
be fitted once more as its members are.

The saved tensors are those of the members, `members.0.` and so on; a backbone that several members have is saved once.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bestiary.config.ensemble_schema import ComposedModel, common_precision, member_prefix
from bestiary.config.schema import ModelConfig
from bestiary.errors import TrainingError
from bestiary.evaluate.greedy_selection import Selection, mix
from bestiary.models.backbones import Preprocessing
from bestiary.models.classifier import Classifier
from bestiary.models.devices import describe_device
from bestiary.models.learner import Description, Labelled, Learner, Logits, Outcome, Positions, State, build_learner
from bestiary.models.mixture import Mixture
from bestiary.models.training.state import Epoch
from bestiary.progress import SILENT, Progress
from bestiary.timing import Clock


class EnsembleLearner:
    """Several fitted models as one."""

    def __init__(self, config: ComposedModel, learners: Sequence[Learner], *, device: torch.device) -> None:
        self._config, self._learners, self._device = config, tuple(learners), device
        self._chosen = Selection(
            np.array([member.share for member in config.ensemble]),
            np.array([member.temperature for member in config.ensemble]),
        )
        self.classifier = Mixture(
            [_network(learner) for learner in learners],
            places=config.places,
            shares=self._chosen.shares.tolist(),
            temperatures=self._chosen.temperatures.tolist(),
        )

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        class_count: int,
        *,
        device: torch.device,
        label: str,
        preprocessings: Sequence[Preprocessing] = (),
    ) -> "EnsembleLearner":
        assert isinstance(config, ComposedModel)  # the kind takes no other
        learners = [
            build_learner(
                member.config,
                class_count,
                device=device,
                label=f"{label}, {member.model}",
                preprocessings=[preprocessings[number] for number in own] if preprocessings else (),
            )
            for member, own in zip(config.ensemble, config.places, strict=True)
        ]
        return cls(config, learners, device=device)

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        for learner in self._learners:
            learner.prepare(images, root, clock=clock, progress=progress)

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        raise TrainingError("an ensemble is put together of fitted models: fit those")

    def refit(self, images: Labelled, found: Outcome, *, progress: Progress = SILENT) -> None:
        for learner, kept in zip(self._learners, found.choices["members"], strict=True):
            history = tuple(Epoch(**row) for row in kept["history"])
            learner.refit(images, Outcome(history, kept["best_epoch"], kept["choices"]), progress=progress)

    def logits(self, positions: Positions) -> Logits:
        said = [learner.logits(positions) for learner in self._learners]
        return mix(said, self._chosen).astype(np.float32)

    def state(self) -> State:
        again = tuple(self._config.repeated)
        return {
            f"{member_prefix(number)}{name}": tensor
            for number, learner in enumerate(self._learners)
            for name, tensor in learner.state().items()
            if not f"{member_prefix(number)}{name}".startswith(again)
        }

    def load(self, state: State) -> None:
        whole = dict(state)
        for prefix, first in self._config.repeated.items():
            whole |= {prefix + name.removeprefix(first): state[name] for name in state if name.startswith(first)}
        for number, learner in enumerate(self._learners):
            own = member_prefix(number)
            learner.load({name.removeprefix(own): tensor for name, tensor in whole.items() if name.startswith(own)})

    def describe(self) -> Description:
        said = [learner.describe() for learner in self._learners]
        return {
            **describe_device(self._device),
            "engine": ", ".join(dict.fromkeys(str(one["engine"]) for one in said)),
            "precision": common_precision(str(one["precision"]) for one in said),
            "preprocessings": [each.as_dict() for each in self.classifier.preprocessings],
            "weights": self._config.weights,
        }


def _network(learner: Learner) -> Classifier:
    assert isinstance(learner.classifier, Classifier)  # neither a baseline nor an ensemble is a member
    return learner.classifier
