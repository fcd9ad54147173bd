"""A moving average of the weights of a network in training.

In: the network, after every step. Out: its averaged weights, put in its place for as long as it is asked. No file.

A step keeps `decay` of the average, and `(1 + step) / (10 + step)` where that is less: the first weights, which may be
random, are soon forgotten. Averages of weights generalise better than the last ones (Polyak and Juditsky 1992; Izmailov
et al. 2018, "Averaging weights leads to wider optima and better generalization", which also says why batch norms need
their statistics measured anew).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class MovingAverage:
    """The average of the parameters that require gradients.

    Args:
        network: whose.
        decay: in [0, 1); 0: there is no average, and nothing is kept.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._network = network
        self.tensors: dict[str, torch.Tensor] = {}
        if decay:
            self.tensors = {name: value.detach().clone() for name, value in self._trained()}

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, value) for name, value in self._network.named_parameters() if value.requires_grad)

    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0 over all epochs."""
        if self.decay:
            kept = min(self.decay, (1 + step) / (10 + step))
            for name, value in self._trained():
                self.tensors[name].lerp_(value.detach(), 1 - kept)

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Go on from an average that was saved."""
        for name, value in tensors.items():
            self.tensors[name].copy_(value)

    def put_in(self) -> None:
        """Give the network the averaged weights, for good."""
        with torch.no_grad():
            for name, value in self._trained():
                if self.decay:
                    value.copy_(self.tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights; afterwards its own again, and its own buffers."""
        if not self.decay:
            yield
            return
        own = {name: value.clone() for name, value in self._network.state_dict().items()}
        self.put_in()
        try:
            yield
        finally:
            self._network.load_state_dict(own)


@contextmanager
def fresh_statistics(network: nn.Module) -> Iterator[list[nn.Module]]:
    """For forward passes that let batch norms measure their statistics anew, each batch counting alike.

    Args:
        network: in training behaviour: batch norms that are in it are measured, all else is put in evaluation.

    Yields:
        The batch norms that are measured.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training and module.track_running_stats
    ]
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True  # torch's for a cumulative average
    try:
        yield list(norms)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()
