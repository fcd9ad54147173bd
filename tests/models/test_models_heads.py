"""Heads: what a classifier has on top of its backbone."""

import numpy as np
import torch

from bestiary.models.heads import Head


def test_a_head_is_linear_or_has_one_hidden_layer():
    assert sum(p.numel() for p in Head(20, 3).parameters()) == 20 * 3 + 3
    head = Head(20, 3, hidden=8, dropout=0.5)
    assert sum(p.numel() for p in head.parameters()) == 20 * 8 + 8 + 8 * 3 + 3
    first = head.layers[0]
    assert not first.bias.any()
    assert float(first.weight.detach().abs().max()) <= np.sqrt(6 / 28)
    inputs = torch.ones(1, 20)
    assert torch.equal(head.eval()(inputs), head(inputs)), "no dropout outside training"
    torch.manual_seed(0)
    head.train()
    assert len({tuple(head(inputs).tolist()[0]) for _ in range(8)}) > 1
