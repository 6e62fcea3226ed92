"""The operations of an integer network, as plain data: numpy arrays, checked when built.

A file reads and writes the same fields (see :mod:`spikeloom.network_file`). Every op has ``name``,
``sources`` (the ops that feed it; "" is the op before, "input" the network's input) and
``infer(*edges)``, which says what leaves and refuses what does not fit.
"""

from __future__ import annotations

from spikeloom.ops.edge import Edge, short_shapes
from spikeloom.ops.join import Add, Fire
from spikeloom.ops.linear import Dense, Flatten, Readout, Synapses, accumulator_width
from spikeloom.ops.window import AvgPool2d, Conv2d, MaxPool2d, Pad2d

__all__ = [
    "Add",
    "AvgPool2d",
    "Conv2d",
    "Dense",
    "Edge",
    "Fire",
    "Flatten",
    "MaxPool2d",
    "Op",
    "Pad2d",
    "Readout",
    "Synapses",
    "accumulator_width",
    "short_shapes",
]

#: Any operation of a network.
Op = Flatten | Dense | Readout | Pad2d | Conv2d | MaxPool2d | AvgPool2d | Fire | Add
