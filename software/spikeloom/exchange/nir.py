"""NIR, the Neuromorphic Intermediate Representation (https://neuroir.org), in and out.

What is exact, what is read as what, and what is refused: docs/exchange.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from spikeloom.conversion.spiking import SpikingNetwork
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.exchange.integer_sketch import network_of, sketch_of_network
from spikeloom.exchange.nir_foreign import Reset, read_rate_coded
from spikeloom.exchange.nir_read import is_ours, read_sketch
from spikeloom.exchange.nir_write import write_graph
from spikeloom.exchange.optional import need
from spikeloom.exchange.spiking_sketch import sketch_of_spiking, spiking_of
from spikeloom.network import Network

if TYPE_CHECKING:
    import nir

__all__ = ["from_nir", "load_nir", "save_nir", "to_nir"]


def to_nir(network: SpikingNetwork | Network) -> nir.NIRGraph:
    """Write a spiking twin (of ``convert``) or an integer network (of ``lower``) as a NIR graph.

    Weights and biases keep every bit; the time coding is in the metadata of the IF nodes.
    Raises UnsupportedModelError, one line, naming the layers that NIR has no node for (max pooling,
    a frame of constant words), ToolError where the package nir is missing.
    """
    package = need("nir", "writing NIR")
    if isinstance(network, Network):
        return write_graph(sketch_of_network(network), package)
    if isinstance(network, SpikingNetwork):
        return write_graph(sketch_of_spiking(network), package)
    raise UnsupportedModelError(
        "to_nir takes the result of convert or of lower, not"
        f" {type(network).__name__}: call spikeloom.convert(model, calibration) first"
    )


def from_nir(
    graph: nir.NIRGraph, *, exact: bool | None = None, reset: Reset = "subtract"
) -> nn.Module | Network:
    """Read a NIR graph.

    A graph of :func:`to_nir` becomes what it was, with the same logits, bit for bit: a
    SpikingNetwork or a Network. Any other one is read as the ReLU network whose rate code it is,
    which ``spikeloom.convert`` takes.

    exact: True insists on the first, False on the second. reset: how the IF neurons of a foreign
    graph reset, which NIR does not say: by subtracting the threshold, or to zero.

    Raises UnsupportedModelError, one line, naming every node without such a meaning, InputError for
    a graph of ours that was changed since.
    """
    package = need("nir", "reading NIR")
    if not isinstance(graph, package.NIRGraph):
        raise InputError(f"from_nir takes a nir.NIRGraph, not {type(graph).__name__}")
    if reset not in ("subtract", "zero"):
        raise ValueError(f"reset must be 'subtract' or 'zero', not {reset!r}")
    ours = is_ours(graph)
    if exact and not ours:
        raise InputError("this NIR graph was not written by spikeloom: leave exact out")
    if not ours or exact is False:
        return read_rate_coded(graph, reset)
    sketch = read_sketch(graph, package)
    try:
        return network_of(sketch) if sketch.form == "integers" else spiking_of(sketch)
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"the graph's spikeloom metadata are wrong: {' '.join(str(error).split())}"
        ) from error


def save_nir(network: SpikingNetwork | Network, path: str | os.PathLike[str]) -> None:
    """Write :func:`to_nir` of a network into a file (HDF5)."""
    package = need("nir", "writing NIR")
    if not Path(path).absolute().parent.is_dir():
        raise InputError(f"{path}: its folder does not exist")
    package.write(Path(path), to_nir(network))


def load_nir(
    path: str | os.PathLike[str], *, exact: bool | None = None, reset: Reset = "subtract"
) -> nn.Module | Network:
    """Read a file as :func:`from_nir` reads a graph; InputError for anything but a NIR file."""
    package: Any = need("nir", "reading NIR")
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        # the check of types (nir 1.0.8) refuses depthwise and rectangular kernels that are sound
        graph = package.read(Path(path), type_check=False)
    except Exception as error:  # h5py and nir raise whatever a damaged file leads them to
        what = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is no NIR file, or a damaged one: {what}") from error
    return from_nir(graph, exact=exact, reset=reset)
