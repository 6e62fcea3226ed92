"""Constants of a graph: computed once; those that are weights become layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.conversion.general.arguments import arguments, operation
from spikeloom.conversion.general.attention import linear
from spikeloom.conversion.general.running import run_node

__all__ = ["fold_constants", "free_name", "weights_into_layers"]


def free_name(root: nn.Module, name: str) -> str:
    """Return a name that a module does not use yet."""
    while hasattr(root, name):
        name += "_"
    return name


def fold_constants(root: nn.Module, graph: fx.Graph) -> None:
    """Replace what is computed from parameters only by buffers."""
    values: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        known = bool(node.all_input_nodes) and all(n in values for n in node.all_input_nodes)
        if node.op == "get_attr":
            values[node] = run_node(root, node, values)
        elif known and node.op in ("call_function", "call_method"):
            value = run_node(root, node, values)
            values[node] = value
            if isinstance(value, Tensor):
                name = free_name(root, f"constant_{node.name}")
                root.register_buffer(name, value.detach().clone())
                with graph.inserting_before(node):
                    constant = graph.get_attr(name)
                constant.meta.update(node.meta)
                values[constant] = value
                node.replace_all_uses_with(constant)


_LAYERS: dict[str, type[nn.Module]] = {
    "conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv_transpose1d": nn.ConvTranspose1d,
    "conv_transpose2d": nn.ConvTranspose2d,
}  # fmt: skip


def weights_into_layers(root: nn.Module, graph: fx.Graph) -> None:
    """Make calls with constant weights the modules that they are."""
    for node in list(graph.nodes):
        if node.op not in ("call_function", "call_method"):
            continue
        name, given = operation(node), arguments(node)
        if name in ("linear", *_LAYERS, "batch_norm"):
            layer = _layer(root, name, given, node)
        elif name == "matmul":
            layer = _matrix(root, given)
        else:
            continue
        if layer is not None:
            target = free_name(root, f"layer_{node.name}")
            root.add_module(target, layer.eval())
            node.op, node.target = "call_module", target
            node.args, node.kwargs = (given["input"],), {}


def _tensor(root: nn.Module, value: Any) -> Tensor | None:
    """Value of a constant, None for what is none."""
    if isinstance(value, fx.Node) and value.op == "get_attr":
        return run_node(root, value, {}).detach()
    return None


def _matrix(root: nn.Module, given: dict[str, Any]) -> nn.Module | None:
    matrix = _tensor(root, given.get("other"))
    if matrix is None or matrix.ndim != 2 or _tensor(root, given.get("input")) is not None:
        return None
    return linear(matrix.T, None)


def _layer(root: nn.Module, name: str, given: dict[str, Any], node: fx.Node) -> nn.Module | None:
    if name == "batch_norm":
        return _norm(root, given, len(node.meta["value"].shape))
    weight, bias = (_tensor(root, given.get(key)) for key in ("weight", "bias"))
    if weight is None or (bias is None and given.get("bias") is not None):
        return None
    if name == "linear":
        return linear(weight, bias)
    groups = given.get("groups", 1)
    transposed = name.startswith("conv_transpose")
    channels = weight.shape[:2] if transposed else (weight.shape[1] * groups, weight.shape[0])
    options = {key: given[key] for key in ("stride", "padding", "dilation") if key in given}
    if transposed:
        channels = (weight.shape[0], weight.shape[1] * groups)
        options["output_padding"] = given.get("output_padding", 0)
    if any(isinstance(value, fx.Node) for value in options.values()):
        return None
    layer: Any = _LAYERS[name](
        *channels, tuple(weight.shape[2:]), groups=groups, bias=bias is not None, **options
    )
    layer.weight = nn.Parameter(weight.clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone())
    return layer


def _norm(root: nn.Module, given: dict[str, Any], rank: int) -> nn.Module | None:
    parts = {k: _tensor(root, given.get(k)) for k in ("running_mean", "running_var")}
    affine = {k: _tensor(root, given.get(k)) for k in ("weight", "bias")}
    mean, variance = parts["running_mean"], parts["running_var"]
    if mean is None or variance is None or given.get("training"):
        return None
    if any(affine[k] is None and given.get(k) is not None for k in affine):
        return None
    make = nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d
    layer = make(len(mean), given.get("eps", 1e-5), device=mean.device, dtype=mean.dtype)
    layer.running_mean, layer.running_var = mean.clone(), variance.clone()
    with torch.no_grad():
        if affine["weight"] is not None:
            layer.weight.copy_(affine["weight"])
        if affine["bias"] is not None:
            layer.bias.copy_(affine["bias"])
    return layer
