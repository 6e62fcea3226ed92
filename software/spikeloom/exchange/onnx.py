"""ONNX in: a file becomes a torch module that ``spikeloom.convert`` follows.

onnx2torch translates the operators; :mod:`spikeloom.exchange.onnx_rewrite` then puts plain torch
layers where it leaves modules of its own.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import nn

from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.exchange.onnx_rewrite import rewrite
from spikeloom.exchange.optional import need

if TYPE_CHECKING:
    import onnx

__all__ = ["load_onnx"]

#: The newest set of operators that onnx2torch knows whole; newer files are taken down to it.
_OPSET = 17
_PURPOSE = "reading ONNX"


def load_onnx(path: str | os.PathLike[str]) -> nn.Module:
    """Read an ONNX file as a torch module in eval mode, for ``spikeloom.convert`` and for use.

    Raises InputError where the file is missing, damaged, or lacks the file of its weights,
    UnsupportedModelError, one line, naming every node that has no torch form, ToolError where the
    packages onnx and onnx2torch are missing.
    """
    package = need("onnx", _PURPOSE)
    with _without_torchvision():
        onnx2torch = need("onnx2torch", _PURPOSE)
    model = _read(Path(path), package)
    problems = _problems(model)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if problems and opset > _OPSET:
        older = _older(model, package)
        if older is not None and not (remaining := _problems(older)):
            model, problems = older, remaining
    if problems:
        advice = f" (opset {opset}; export with opset_version={_OPSET})" if opset > _OPSET else ""
        raise UnsupportedModelError(
            f"{path} has {len(problems)} node(s) without a torch form{advice}:"
            f" {'; '.join(problems)}"
        )
    try:
        module = onnx2torch.convert(model, attach_onnx_mapping=True)
        return rewrite(module, _shapes(model, package)).eval()
    except Exception as error:  # whatever onnx2torch stumbles over in a graph it half understands
        raise UnsupportedModelError(f"{path} has no torch form: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read(path: Path, package: ModuleType) -> onnx.ModelProto:
    """Read and check a file, and whatever it keeps beside itself."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        model = package.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises its own classes
        raise InputError(f"{path} is no ONNX file, or a damaged one: {_line(error)}") from error
    if not model.graph.node or not model.opset_import:
        raise InputError(f"{path} is no ONNX file, or holds no graph")
    helper = importlib.import_module("onnx.external_data_helper")
    outside = {
        entry.value
        for tensor in model.graph.initializer
        if helper.uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    missing = sorted(name for name in outside if not (path.parent / name).is_file())
    if missing:
        raise InputError(
            f"{path} keeps its weights in {missing[0]!r}, which is not beside it: copy it there, or"
            " export with external_data=False"
        )
    try:
        if outside:  # onnx refuses names that lead out of the folder
            helper.load_external_data_for_model(model, str(path.parent))
        package.checker.check_model(model)
        _inline(model)
        return package.shape_inference.infer_shapes(model)
    except Exception as error:
        raise InputError(f"{path} is no sound ONNX model: {_line(error)}") from error


def _inline(model: onnx.ModelProto) -> None:
    """Make weights of what only names weights: exporters write equal ones once, and copies of it.

    onnx2torch wants the weights of a layer themselves.
    """
    graph = model.graph
    known, left, same = {tensor.name for tensor in graph.initializer}, [], {}
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        values = [a.t for a in node.attribute if a.name == "value"]
        outputs = {value.name for value in graph.output}
        if node.op_type == "Identity" and node.input[0] in known and node.output[0] not in outputs:
            same[node.output[0]] = node.input[0]
        elif node.op_type == "Constant" and values and node.output[0] not in outputs:
            tensor = graph.initializer.add()
            tensor.CopyFrom(values[0])
            tensor.name = node.output[0]
            known.add(tensor.name)
        else:
            left.append(node)
    del graph.node[:]
    graph.node.extend(left)


def _problems(model: onnx.ModelProto) -> list[str]:
    """Why nodes have no torch form, one text a node."""
    from onnx2torch.node_converters import get_converter
    from onnx2torch.onnx_graph import OnnxGraph

    versions = {o.domain: o.version for o in model.opset_import}
    graph, problems = OnnxGraph(model.graph), []
    for name, node in graph.nodes.items():
        kind = f"{node.domain}.{node.operation_type}" if node.domain else node.operation_type
        where = f"{node.name or name!r}"
        try:
            convert = get_converter(node.operation_type, versions.get(node.domain, 0), node.domain)
        except NotImplementedError:
            problems.append(f"{where} ({kind}): not supported by onnx2torch")
            continue
        try:
            convert(node, graph)
        except Exception as error:  # converters raise all sorts of errors on attributes
            problems.append(f"{where} ({kind}): {_line(error)}")
    return problems


def _older(model: onnx.ModelProto, package: ModuleType) -> onnx.ModelProto | None:
    """The model in the older set of operators, None where that has no way to say it."""
    converter = importlib.import_module("onnx.version_converter")
    try:
        return package.shape_inference.infer_shapes(converter.convert_version(model, _OPSET))
    except Exception as error:  # it raises RuntimeError and its own classes
        logging.getLogger(__name__).debug("no older form: %s", error)
        return None


def _shapes(model: onnx.ModelProto, package: ModuleType) -> dict[str, tuple[int | None, ...]]:
    """Shapes of values as far as they are known; None for an axis left open."""
    graph = package.shape_inference.infer_shapes(model).graph
    shapes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            axes = kind.shape.dim
            shapes[value.name] = tuple(
                a.dim_value if a.HasField("dim_value") else None for a in axes
            )
    return shapes


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Let onnx2torch import where torchvision is absent, or does not load beside this torch.

    It wants three of its functions for two operators (NonMaxSuppression, RoiAlign) that no spiking
    network has. The stand-in is there during the import only; what it is called for is refused.
    """
    if "onnx2torch" in sys.modules or _torchvision_works():
        yield
        return
    stub, ops = ModuleType("torchvision"), ModuleType("torchvision.ops")
    for name in ("box_convert", "nms", "roi_align"):
        setattr(ops, name, _absent)
    stub.ops = ops  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": stub, "torchvision.ops": ops}
    try:
        yield
    finally:
        for name in ("torchvision", "torchvision.ops"):
            sys.modules.pop(name, None)


def _torchvision_works() -> bool:
    before = set(sys.modules)
    try:
        importlib.import_module("torchvision.ops")
    except Exception:  # absent, or built for another torch: RuntimeError, OSError
        for name in set(sys.modules) - before:
            if name.split(".")[0] == "torchvision":
                del sys.modules[name]
        return False
    return True


def _absent(*_args: Any, **_kwargs: Any) -> Any:
    raise UnsupportedModelError("this operator needs torchvision: pip install torchvision")
