"""The ``.spikeloom`` file: safetensors, with the graph as JSON in its metadata. No pickle.

Integer arrays are named ``<op name>.<field>``; one that an op does without (None) is not there. The
metadata key ``spikeloom`` holds the graph, with pairs as lists, and a version number of its own.
Everything is checked on the way in.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from spikeloom.errors import NetworkFileError
from spikeloom.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Dense,
    Fire,
    Flatten,
    MaxPool2d,
    Op,
    Pad2d,
    Readout,
)

if TYPE_CHECKING:
    from spikeloom.network import Network

__all__ = ["FORMAT_VERSION", "read_network", "write_network"]

#: Raised by one whenever the meaning of a file changes. 1 knew only chains of fully connected
#: layers, of which an op had no ``source``; such files are read too.
FORMAT_VERSION = 2
_METADATA_KEY = "spikeloom"
_KINDS: dict[str, type[Op]] = {
    op.kind: op for op in (Flatten, Dense, Readout, Pad2d, Conv2d, MaxPool2d, AvgPool2d, Fire, Add)
}
_KINDS_OF_1 = ("flatten", "dense", "readout")
_ARRAYS = ("weight", "bias", "threshold", "output_scale", "skip_weight", "word")


def _arrays(op_type: type[Op]) -> dict[str, bool]:
    """Names of an op's fields that are arrays, and whether it does without (None)."""
    fields = {f.name: f for f in dataclasses.fields(op_type)}
    # the bias and threshold of an average pool are plain numbers
    return {
        name: fields[name].default is None
        for name in _ARRAYS
        if name in fields and "NDArray" in str(fields[name].type)
    }


def write_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a file; OSError when that is not possible."""
    arrays: dict[str, NDArray[Any]] = {}
    ops = []
    for op in network.ops:
        entry: dict[str, Any] = {"op": op.kind}
        stored = _arrays(type(op))
        for f in dataclasses.fields(op):
            value = getattr(op, f.name)
            if f.name not in stored:
                entry[f.name] = value
            elif value is not None:
                arrays[f"{op.name}.{f.name}"] = value
        ops.append(entry)
    graph = {
        "version": FORMAT_VERSION,
        "input_shape": list(network.input_shape),
        "input_bits": network.input_bits,
        "ops": ops,
        "metadata": network.metadata,
    }
    # save_file would make the file unreadable for others, whatever the umask says
    Path(path).write_bytes(save(arrays, metadata={_METADATA_KEY: json.dumps(graph)}))


def read_network(path: str | os.PathLike[str]) -> Network:
    """Read a network; NetworkFileError, one line, on anything but a whole and sound file."""
    try:
        return _read(os.fspath(path))
    except NetworkFileError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise NetworkFileError(f"{path}: {' '.join(str(error).split())}") from error


def _read(path: str) -> Network:
    from spikeloom.network import Network

    if not os.path.isfile(path):
        raise NetworkFileError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_METADATA_KEY)
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise NetworkFileError(f"{path}: damaged, cut short, or no network ({error})") from error
    if text is None:
        raise ValueError("a safetensors file, but not a Spikeloom network")
    graph = _object(json.loads(text), "the graph")
    version = graph.get("version")
    if isinstance(version, bool) or version not in (1, FORMAT_VERSION):
        raise ValueError(
            f"network file version {version!r}, this Spikeloom reads 1 to {FORMAT_VERSION}:"
            " lower the model again"
        )
    ops = [_read_op(_object(entry, "an op"), arrays, version) for entry in _list(graph, "ops")]
    if arrays:
        raise ValueError(f"arrays that no op uses: {sorted(arrays)}")
    return Network(
        ops,
        _list(graph, "input_shape"),
        graph.get("input_bits"),  # type: ignore[arg-type]  # checked by the constructor
        _object(graph.get("metadata"), "metadata"),
    )


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    return value


def _list(graph: dict[str, Any], key: str) -> list[Any]:
    value = graph.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{key} is missing or not a list")
    return value


def _read_op(entry: dict[str, Any], arrays: dict[str, NDArray[Any]], version: int) -> Op:
    """Build one op and take its arrays out of ``arrays``; ValueError on anything unexpected."""
    entry = dict(entry)
    kind, name = entry.pop("op", None), entry.get("name")
    op_type = _KINDS.get(str(kind))
    if op_type is None or (version == 1 and kind not in _KINDS_OF_1):
        raise ValueError(f"unknown op {kind!r} ({name!r}); known are {', '.join(sorted(_KINDS))}")
    if version == 1:
        entry.setdefault("source", "")
    stored = _arrays(op_type)
    for f in dataclasses.fields(op_type):
        key = f"{name}.{f.name}"
        if f.name in stored and f.name in entry:
            raise ValueError(f"op {name!r}: {f.name!r} is no array")
        if f.name in stored and key in arrays:
            entry[f.name] = arrays.pop(key)
        elif f.name in stored and not stored[f.name]:
            raise ValueError(f"op {name!r}: array {key!r} is missing")
        elif f.name not in stored and f.name not in entry:
            raise ValueError(f"op {name!r}: field {f.name!r} is missing")
        elif isinstance(entry.get(f.name), list):
            entry[f.name] = tuple(entry[f.name])
    extra = set(entry) - {f.name for f in dataclasses.fields(op_type)}
    if extra:
        raise ValueError(f"op {name!r}: unknown fields {sorted(extra)}")
    for key in ("source", "other", "skip"):
        if not isinstance(entry.get(key, ""), str):
            raise ValueError(f"op {name!r}: {key} must be the name of an op, not {entry[key]!r}")
    return op_type(**entry)
