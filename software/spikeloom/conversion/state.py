"""The structure of a spiking twin, which its ``state_dict`` carries beside its tensors.

T, the input's bits and how layers are connected are no tensors: without them the weights of another
network could load, and mean something else. It is a tensor of bytes, so that safetensors and
``torch.load(weights_only=True)`` keep it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from spikeloom.errors import InputError

if TYPE_CHECKING:
    from spikeloom.conversion.spiking import SpikingNetwork

__all__ = ["KEY", "difference", "pack", "structure", "unpack"]

#: What torch calls it in a state_dict.
KEY = "_extra_state"

_PLAIN = (bool, int, float, str, tuple)


def structure(snn: SpikingNetwork) -> dict[str, Any]:
    """What tells two networks apart besides their tensors, as plain values."""
    layers = []
    for layer in snn.spiking_layers:
        entry: dict[str, Any] = {"name": layer.name, "kind": type(layer).__name__}
        for path, module in layer.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, _PLAIN) and name != "training" and name[0] != "_":
                    entry[f"{path}.{name}".lstrip(".")] = value
        layers.append(entry)
    return {
        "sample_shape": list(snn.sample_shape),
        "input_bits": snn.encode.bits,
        "layers": json.loads(json.dumps(layers)),
    }


def pack(snn: SpikingNetwork) -> Tensor:
    """Return the structure and the report as uint8 (bytes,)."""
    edges = [
        {**vars(edge), "thresholds": np.asarray(edge.thresholds).tolist()} for edge in snn.report()
    ]
    text = json.dumps({"structure": structure(snn), "report": edges})
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def unpack(packed: object) -> dict[str, Any]:
    """Undo :func:`pack`; InputError for anything else."""
    try:
        assert isinstance(packed, Tensor)
        data = json.loads(bytes(packed.cpu().numpy()))
        return {"structure": data["structure"], "report": data["report"]}
    except (AssertionError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "the state_dict is of no spiking network, or of an old Spikeloom: it does not say of"
            " which structure it is"
        ) from error


def difference(snn: SpikingNetwork, state: Mapping[str, Any]) -> str:
    """Say in a few words what a state_dict has other than a network; empty if nothing."""
    if KEY not in state:
        unpack(None)
    theirs, ours = unpack(state[KEY])["structure"], structure(snn)
    for name in ("sample_shape", "input_bits"):
        if theirs[name] != ours[name]:
            return f"{name} is {theirs[name]}, not {ours[name]}"
    if len(theirs["layers"]) != len(ours["layers"]):
        return f"it has {len(theirs['layers'])} layers, not {len(ours['layers'])}"
    for a, b in zip(theirs["layers"], ours["layers"], strict=True):
        for name in (*b, *a):
            if a.get(name) != b.get(name):
                return f"layer {b['name']!r}: {name} is {a.get(name)}, not {b.get(name)}"
    expected = {k: v for k, v in snn.state_dict().items() if k != KEY}
    odd = sorted(set(expected) ^ (set(state) - {KEY}))
    if odd:
        return f"{odd[0]} is {'missing' if odd[0] in expected else 'one too many'}"
    for name, value in expected.items():
        given = state[name]
        if given.shape != value.shape or given.dtype != value.dtype:
            shown = (f"{t.dtype} {tuple(t.shape)}" for t in (given, value))
            return "{} is {}, not {}".format(name, *shown)
    return ""
