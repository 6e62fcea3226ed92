"""Plain torch layers instead of the modules of onnx2torch, so that conversion can follow them.

Only what is the same arithmetic is replaced; the rest stays, and conversion reports it by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.exchange.rewriter import Rewriter, Sizes

__all__ = ["Shapes", "rewrite"]

Shapes = Mapping[str, Sizes]


def rewrite(module: fx.GraphModule, shapes: Shapes) -> fx.GraphModule:
    """Rewrite a module of onnx2torch that carries its ONNX mapping; shapes: of ONNX values."""
    return _OnnxRewriter(module, shapes).run()


class _OnnxRewriter(Rewriter):
    """Forms of the modules of onnx2torch, by the names of their classes."""

    def __init__(self, module: fx.GraphModule, shapes: Shapes) -> None:
        super().__init__()
        self.old, self.shapes = module, shapes
        self.modules = dict(module.named_modules())
        self.forms: dict[str, Callable[[str, Any, Any], fx.Node | None]] = {
            "OnnxBinaryMathOperation": self.binary,
            "OnnxCopyIdentity": lambda name, m, n: self.given(n.args[0]),
            "OnnxDropoutDynamic": self.dropout,
            "OnnxFunction": self.function,
            "OnnxGlobalAveragePoolWithKnownInputShape": self.global_average,
            "OnnxMatMul": self.product,
            "OnnxReduceStaticAxes": self.reduce,
            "OnnxReshape": self.reshape,
            "OnnxSqueezeDynamicAxes": self.squeeze,
            "OnnxSqueezeStaticAxes": self.squeeze,
        }

    def run(self) -> fx.GraphModule:
        """Return the new module."""
        for node in self.old.graph.nodes:
            if node.op == "get_attr":
                self.constants[node] = self.old.get_buffer(str(node.target))
            elif node.op == "call_module":
                self.module(node)
            else:
                self.new[node] = self.graph.node_copy(node, self.given)
        return self.finish("OnnxModel")

    def module(self, node: fx.Node) -> None:
        """Copy the call of a module, or what it is instead."""
        module, name = self.modules[str(node.target)], str(node.target)
        if type(module).__name__ == "OnnxConstant" and isinstance(module.value, Tensor):
            self.constants[node] = module.value
            return
        form = self.forms.get(type(module).__name__)
        found = form(name, module, node) if form is not None else None
        if found is None:
            args, kwargs = fx.map_arg((node.args, node.kwargs), self.given)  # type: ignore[misc]
            found = self.graph.call_module(self.add(name, module), args, kwargs)
        self.new[node] = found

    def shape(self, module: Any, index: int = 0, *, output: bool = False) -> Sizes | None:
        """Shape of an ONNX value that a module takes or gives."""
        mapping = module.onnx_mapping
        return self.shapes.get((mapping.outputs if output else mapping.inputs)[index])

    def binary(self, name: str, module: Any, node: Any) -> fx.Node | None:
        """Add two streams, or calculate with a constant."""
        kind = module.math_op_function.__name__.removeprefix("_onnx_")
        if module.broadcast is not None:
            return None
        shapes = self.shape(module, 0), self.shape(module, 1)
        return self.arithmetic(name, kind, node.args, shapes)

    def product(self, name: str, module: Any, node: Any) -> fx.Node | None:
        """Multiply by a constant matrix: a Linear."""
        x, y = node.args
        if y not in self.constants or x in self.constants or self.constants[y].ndim != 2:
            return None
        weight = self.constants[y]
        layer = nn.utils.skip_init(nn.Linear, weight.shape[0], weight.shape[1], bias=False)
        layer.weight = nn.Parameter(weight.T.clone())
        return self.call(name, layer, x)

    def dropout(self, name: str, module: Any, node: Any) -> fx.Node | None:
        """Drop nothing, unless the model says that it trains."""
        mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("training_mode")
        fixed = mode is None or (mode in self.constants and not bool(self.constants[mode]))
        return self.given(node.args[0]) if fixed else None

    def function(self, name: str, module: Any, node: Any) -> fx.Node | None:
        """Make a layer of an activation, so that it is reported by its name."""
        return self.call(name, nn.Tanh(), node.args[0]) if module.function is torch.tanh else None

    def global_average(self, name: str, module: Any, node: Any) -> fx.Node | None:
        """Average all pixels, keeping their axes."""
        return self.mean(name, node.args[0], (2, 3), True, self.shape(module))

    def reduce(self, name: str, module: Any, node: Any) -> fx.Node | None:
        """Average all pixels, keeping their axes or not."""
        if module.operation_type != "ReduceMean":
            return None
        return self.mean(name, node.args[0], module.axes, module.keepdims, self.shape(module))

    def squeeze(self, name: str, module: Any, node: Any) -> fx.Node | None:
        """Drop the two axes of a single pixel."""
        shape, after = self.shape(module), self.shape(module, output=True)
        if shape is None or len(shape) != 4 or shape[2:] != (1, 1) or after != shape[:2]:
            return None
        return self.flatten(self.given(node.args[0]))

    def reshape(self, name: str, module: Any, node: Any) -> fx.Node | None:
        """Lay samples out as rows, the batch whatever it is."""
        x, target = node.args
        size = self.row(x, target, self.shape(module))
        return None if size is None else self.rows(self.given(x), size)

    def row(self, x: fx.Node, target: Any, shape: Sizes | None) -> int | None:
        """Length of a row (-1: what there is) that a reshape makes of a sample; None: no rows."""
        if target in self.constants:
            axes = self.constants[target].tolist()
            if len(axes) != 2:
                return None
            batch, size = axes
            kept = batch in (0, 1) or (shape is not None and batch == shape[0])
            open_batch = batch == -1 and size > 0
            return size if (kept and size != 0) or open_batch else None
        parts = target.args if target.op == "call_module" else ()
        kind = type(self.modules.get(str(target.target))).__name__
        if kind != "OnnxConcat" or len(parts) != 2 or parts[1] not in self.constants:
            return None
        size = self.constants[parts[1]].flatten()
        rows = self.batch_of(parts[0], x) and size.numel() == 1 and int(size) != 0
        return int(size) if rows else None

    def batch_of(self, node: Any, x: fx.Node) -> bool:
        """Whether a node is the first number of the shape of x, or of an input."""
        gathered = False
        while node.op == "call_module":
            kind = type(self.modules[str(node.target)]).__name__
            if kind == "OnnxGather":
                index = self.constants.get(node.args[1])
                gathered = index is not None and index.numel() == 1 and int(index) == 0
            elif kind == "OnnxShape":
                return gathered and (node.args[0] is x or node.args[0].op == "placeholder")
            elif not kind.startswith(("OnnxUnsqueeze", "OnnxCast")):
                return False
            node = node.args[0]
        return False
