"""A network cut in two where training begins: what is frozen, and what is trained.

In: a backbone some of whose stages require gradients. Out: a `Cut`: the trunk, from pixels to the activations at the
boundary, and the tail, from there to features. The tail is made of the backbone's own modules, so training it trains
the backbone. No file here.

The cut is found in the network's graph (torch.fx; Reed et al. 2022, https://arxiv.org/abs/2112.08429): an operation
belongs to the tail where it uses a trainable weight, or anything that comes from one. Modules that are wholly frozen
or wholly trainable are not looked into, so they behave in training and in evaluation as they always do.
"""

import operator
from dataclasses import dataclass

import torch
from torch import fx, nn

from bestiary.errors import CannotCutError
from bestiary.models.backbones import Backbone

# Of the largest feature: what float32 sums in another order may differ by.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Cut:
    """The two halves of a backbone.

    Attributes:
        trunk: uint8 pixels `(n, h, w, 3)` → activations, flat: `(n, activation_count)`. Frozen.
        tail: such activations, of any floating type → features `(n, feature_count)`.
        activation_count: numbers an image at the boundary.
        boundary: the names of the operations whose results cross it.
        operations: what the trunk computes, as text: the same in every process, another for every other boundary.
    """

    trunk: nn.Module
    tail: nn.Module
    activation_count: int
    boundary: tuple[str, ...]
    operations: str


def cut(backbone: Backbone) -> Cut:
    """Cut a backbone, in eval mode, where its trainable stages begin.

    Raises:
        CannotCutError: all of it is trainable, none of it is, or its graph cannot be traced.
    """
    graph = _trace(backbone)
    in_tail = _tail_nodes(graph, backbone)
    boundary = [
        node
        for node in graph.nodes
        if node not in in_tail and node.op != "get_attr" and any(user in in_tail for user in node.users)
    ]
    if not boundary:
        raise CannotCutError("nothing of the backbone is trained")
    part = _part(backbone, graph, inputs=[], outputs=boundary)
    trunk = _Trunk(part)
    if next(trunk.parameters(), None) is None:
        raise CannotCutError("training begins at the pixels")
    size = backbone.preprocessing.geometry.size_px
    pixels = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        values = part(pixels)
        if not all(_is_row_an_image(value, len(pixels)) for value in values):
            raise CannotCutError("what crosses the boundary is not one array an image")
        tail = _Tail(_part(backbone, graph, inputs=boundary, outputs=None), [value.shape[1:] for value in values])
        activations = trunk(pixels)
        # Both halves run the very operations of the whole, in the same order, perhaps on another memory format.
        found, expected = tail(activations), backbone(pixels)
        if not torch.allclose(found, expected, rtol=0, atol=_ROUNDING * float(expected.abs().max())):
            raise CannotCutError("its two halves do not make the whole")
    return Cut(trunk, tail, activations.shape[1], tuple(node.name for node in boundary), part.code)


def _is_row_an_image(value: object, images: int) -> bool:
    """Whether a value is an array of numbers that may be rounded, a row for each image."""
    return isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[0] == images and value.is_floating_point()


class _Trunk(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        # Channels last, as they are in memory and as the tail expects them.
        values = [value.movedim(1, -1) if value.ndim == 4 else value for value in self.part(pixels)]
        return torch.cat([value.flatten(1) for value in values], dim=1)


class _Tail(nn.Module):
    def __init__(self, part: nn.Module, shapes: list[torch.Size]) -> None:
        super().__init__()
        self.part = part
        self._shapes = shapes

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        pieces = torch.split(activations, [shape.numel() for shape in self._shapes], dim=1)
        values = [_restored(piece, shape) for piece, shape in zip(pieces, self._shapes, strict=True)]
        features: torch.Tensor = self.part(*values)
        return features


def _restored(piece: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if len(shape) != 3:
        return piece.view(len(piece), *shape)
    channels, height, width = shape
    return piece.reshape(len(piece), height, width, channels).movedim(-1, 1)


class _StageTracer(fx.Tracer):
    """Follows the forward pass down to modules that are wholly frozen or wholly trainable."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return len({parameter.requires_grad for parameter in m.parameters()}) < 2


def _trace(backbone: Backbone) -> fx.Graph:
    try:
        return _StageTracer().trace(backbone)
    # What tracing raises where the forward pass depends on values or unpacks shapes.
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, AssertionError) as error:
        raise CannotCutError(f"its forward pass cannot be traced ({' '.join(str(error).split())[:120]})") from error


def _tail_nodes(graph: fx.Graph, backbone: Backbone) -> set[fx.Node]:
    tail: set[fx.Node] = set()
    for node in graph.nodes:
        if any(source in tail for source in node.all_input_nodes) or _is_trainable(node, backbone):
            tail.add(node)
    return tail


def _is_trainable(node: fx.Node, backbone: Backbone) -> bool:
    if node.op == "call_module":
        module = backbone.get_submodule(str(node.target))
        return any(parameter.requires_grad for parameter in module.parameters())
    if node.op == "get_attr":
        return bool(getattr(operator.attrgetter(str(node.target))(backbone), "requires_grad", False))
    return False


def _part(
    backbone: Backbone, graph: fx.Graph, *, inputs: list[fx.Node], outputs: list[fx.Node] | None
) -> fx.GraphModule:
    """Some of a graph: from `inputs` (none: the graph's own) to `outputs` (None: the graph's own)."""
    part = fx.Graph()
    known = {node: part.placeholder(f"activation_{number}") for number, node in enumerate(inputs)}
    # Only what is needed is copied: a GraphModule holds the modules of all its nodes.
    needed, ends = set[fx.Node](), list(outputs or [graph.output_node()])
    while ends:
        node = ends.pop()
        if node not in known and node not in needed:
            needed.add(node)
            ends += node.all_input_nodes
    for node in graph.nodes:
        if node in needed:
            known[node] = part.node_copy(node, lambda source: known[source])
    if outputs is not None:
        part.output(tuple(known[node] for node in outputs))
    return fx.GraphModule(backbone, part)
