"""Batch norms: into the weights before them, else a factor and a shift a channel."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from spikeloom.conversion.general.constants import free_name
from spikeloom.conversion.general.module_rules import CONVOLUTIONS, NORMS, TRANSPOSED

__all__ = ["Affine", "fold_norms"]


class Affine(nn.Module):
    """x * scale + shift, one of each a channel of axis 1."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape with channels in axis 1."""
        shape = [1] * x.ndim
        shape[1] = -1
        return x * self.scale.view(shape) + self.shift.view(shape)


def _map(norm: Any) -> tuple[Tensor, Tensor]:
    """Factor and shift of a batch norm, float64."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    return scale, shift


def _into(layer: Any, scale: Tensor, shift: Tensor) -> None:
    """Multiply the outputs of a layer, in its weights and bias."""
    weight, dtype = layer.weight.detach().double(), layer.weight.dtype
    if isinstance(layer, TRANSPOSED):
        parts = weight.unflatten(0, (layer.groups, -1))
        factors = scale.view(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
        folded = (parts * factors).flatten(0, 1)
    else:
        folded = weight * scale.view(-1, *[1] * (weight.ndim - 1))
    bias = shift if layer.bias is None else layer.bias.detach().double() * scale + shift
    layer.weight = nn.Parameter(folded.to(dtype))
    layer.bias = nn.Parameter(bias.to(dtype))


def fold_norms(root: nn.Module, graph: fx.Graph) -> None:
    """Fold batch norms of a graph into the layers before them where those feed nothing else."""
    for node in list(graph.nodes):
        if node.op != "call_module":
            continue
        norm = root.get_submodule(str(node.target))
        if type(norm) not in NORMS or norm.running_mean is None:
            continue
        scale, shift = _map(norm)
        source = node.args[0] if node.args else node.kwargs["input"]
        assert isinstance(source, fx.Node)
        layer = None
        if source.op == "call_module" and len(source.users) == 1:
            layer = root.get_submodule(str(source.target))
        flat = len(source.meta["value"].shape) == 2
        if isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)) or (
            isinstance(layer, nn.Linear) and flat
        ):
            _into(layer, scale, shift)
            node.replace_all_uses_with(source)
            graph.erase_node(node)
        else:
            dtype: Any = norm.running_mean.dtype
            target = free_name(root, f"affine_{node.name}")
            root.add_module(target, Affine(scale.to(dtype), shift.to(dtype)))
            node.target = target
