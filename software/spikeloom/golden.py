"""The golden model: runs an integer network on the CPU or a GPU, exactly.

Everything is an integer in a float: see :mod:`spikeloom.golden_steps` for why that is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeloom.errors import InputError
from spikeloom.golden_steps import Step, make_step
from spikeloom.ops import Flatten

if TYPE_CHECKING:
    from spikeloom.network import Network

__all__ = ["Trace", "run_words", "trace_words"]

_BATCH = 4096  #: most samples at once
_LIVE_BYTES = 1 << 26  #: what the samples of a batch may take in the largest layer


@dataclass(frozen=True, eq=False)
class Trace:
    """What one layer did; n samples of shape (channels, height, width) or (features,).

    potentials: int64 (n, *shape), v0 with the bias (and the skip connection) added, what fires;
    of a Fire, or a max pool of potentials, those that pass through it. None for a pool or a frame
    of words.
    words: uint8 (n, *shape), the packed output words; None for a layer that gives potentials.
    """

    name: str
    potentials: NDArray[np.int64] | None
    words: NDArray[np.uint8] | None


def run_words(
    network: Network, words: NDArray[np.uint8], *, device: str = "cpu"
) -> NDArray[np.int64]:
    """Integer logits (n, classes) of input words, uint8 (n, inputs), C order of the input shape.

    Raises InputError on a wrong dtype, shape or range, AccumulatorOverflowError when a potential
    leaves its accumulator.
    """
    words = _checked(network, words)
    logits = np.empty((len(words), network.classes), dtype=np.int64)
    for rows, name, potentials, _ in _run(network, words, device):
        if name == network.ops[-1].name:
            assert potentials is not None
            logits[rows] = _integers(potentials)
    return logits


def trace_words(network: Network, words: NDArray[np.uint8], *, device: str = "cpu") -> list[Trace]:
    """Potentials and words of every layer, in the network's order; errors as :func:`run_words`."""
    words = _checked(network, words)
    traces: dict[str, Trace] = {}
    for rows, name, potentials, fired in _run(network, words, device):
        if name not in traces:
            shape = (len(words), *network.edges[name].shape)
            traces[name] = Trace(
                name,
                None if potentials is None else np.empty(shape, np.int64),
                None if fired is None else np.empty(shape, np.uint8),
            )
        trace = traces[name]
        if trace.potentials is not None and potentials is not None:
            trace.potentials[rows] = _integers(potentials)
        if trace.words is not None and fired is not None:
            trace.words[rows] = fired.to(torch.uint8).cpu().numpy()
    return list(traces.values())


def _integers(values: Tensor) -> NDArray[np.int64]:
    return values.to(torch.int64).cpu().numpy()


def _run(
    network: Network, words: NDArray[np.uint8], device: str
) -> Iterator[tuple[slice, str, Tensor | None, Tensor | None]]:
    """For each batch and layer: (which samples, the layer's name, potentials, words)."""
    where = torch.device(device)
    steps: dict[str, Step] = {}
    reach = {"input": (1 << network.input_bits) - 1}
    for op in network.ops:
        inputs = [reach[name] for name in network.sources(op)]
        steps[op.name] = make_step(op, inputs, network.edges[op.name], where)
        reach[op.name] = steps[op.name].reach
    sources = {op.name: network.sources(op) for op in network.ops}
    last_use = {source: name for name, feeds in sources.items() for source in feeds}
    batch = _batch(network)
    # at least one batch, so that an empty input still gives arrays of the right shape
    for start in range(0, max(len(words), 1), batch):
        rows = slice(start, min(start + batch, len(words)))
        x = torch.from_numpy(np.ascontiguousarray(words[rows])).to(where)
        values = {"input": x.reshape(-1, *network.input_shape)}
        for op in network.ops:
            potentials, out = steps[op.name](*(values[name] for name in sources[op.name]))
            result = potentials if out is None else out
            assert result is not None
            values[op.name] = result
            for source in sources[op.name]:
                if last_use[source] == op.name:
                    values.pop(source, None)
            if not isinstance(op, Flatten):
                yield rows, op.name, potentials, out


def _checked(network: Network, words: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the words; InputError unless they are the network's."""
    words = np.asarray(words)
    top = (1 << network.input_bits) - 1
    if words.dtype != np.uint8 or words.ndim != 2 or words.shape[1] != network.inputs:
        raise InputError(
            f"words are {words.dtype} {words.shape}, expected uint8 (n, {network.inputs})"
        )
    if words.size and int(words.max()) > top:
        raise InputError(f"words reach {int(words.max())}, {network.input_bits} bits hold 0..{top}")
    return words


def _batch(network: Network) -> int:
    """Samples at once: as many as memory (and the cache) likes."""
    largest = max(
        network.edges[op.name].size + sum(network.edges[s].size for s in network.sources(op))
        for op in network.ops
    )
    return max(1, min(_BATCH, _LIVE_BYTES // (4 * largest)))
