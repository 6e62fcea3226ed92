"""How much flows through a network: the words of every stream for some samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from spikeloom.hardware.parameters import LayerParameters, NetworkParameters, SynapseParameters

if TYPE_CHECKING:
    from spikeloom.network import Network

__all__ = [
    "HIDDEN_DENSITY",
    "INPUT_DENSITY",
    "Activity",
    "assumed",
    "from_words",
    "full",
    "measured",
]

#: share of non-zero words assumed at the input of a network, and behind its layers
INPUT_DENSITY, HIDDEN_DENSITY = 0.25, 0.5

#: set bits of every byte
_SET_BITS = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)

#: samples of an assumed activity
_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class Activity:
    """Spikes a word, for the words that enter each layer with weights, in some samples.

    spikes: for each layer uint8 (samples, pixels, channels), set bits of every word; None for
    layers whose time does not depend on them. source: where they come from, for people.
    """

    spikes: tuple[NDArray[np.uint8] | None, ...]
    source: str

    @cached_property
    def densities(self) -> tuple[float | None, ...]:
        """Share of non-zero words that enters each layer with weights."""
        return tuple(
            None if words is None else float(np.count_nonzero(words)) / max(words.size, 1)
            for words in self.spikes
        )

    @property
    def samples(self) -> int:
        """Samples that it holds."""
        return next((len(words) for words in self.spikes if words is not None), 0)

    def sample(self, index: int) -> Activity:
        """Return the activity of one sample."""
        return self._taken(slice(index, index + 1))

    def first(self, count: int) -> Activity:
        """Return that of the first samples."""
        return self._taken(slice(count))

    def repeated(self, count: int) -> Activity:
        """Return every sample so many times."""
        spikes = (None if words is None else np.repeat(words, count, 0) for words in self.spikes)
        return Activity(tuple(spikes), self.source)

    def _taken(self, which: slice) -> Activity:
        spikes = (None if words is None else words[which] for words in self.spikes)
        return Activity(tuple(spikes), self.source)


def _shape(layer: LayerParameters) -> tuple[int, int]:
    port = layer.ports_in[0]
    return port.pixels, port.channels


def assumed(
    network: NetworkParameters,
    *,
    first: float = INPUT_DENSITY,
    later: float = HIDDEN_DENSITY,
    seed: int = 1,
) -> Activity:
    """Return random activity with a share ``first`` of non-zero words in, ``later`` elsewhere."""
    generator = np.random.default_rng(seed)
    spikes: list[NDArray[np.uint8] | None] = []
    for layer, feeds in zip(network.layers, network.sources, strict=True):
        if not isinstance(layer, SynapseParameters):
            spikes.append(None)
            continue
        density = first if feeds[0] < 0 else later
        shape = (_SAMPLES, *_shape(layer))
        words = generator.integers(1, (1 << layer.input_bits) - 1, shape, np.uint8, endpoint=True)
        words[generator.random(shape) >= density] = 0
        spikes.append(_SET_BITS[words])
    return Activity(
        tuple(spikes), f"assumed: {first:.0%} non-zero words in, {later:.0%} behind every layer"
    )


def full(network: NetworkParameters) -> Activity:
    """Return the worst data: every bit of every word is set."""
    spikes = tuple(
        np.full((1, *_shape(layer)), layer.input_bits, dtype=np.uint8)
        if isinstance(layer, SynapseParameters)
        else None
        for layer in network.layers
    )
    return Activity(spikes, "worst case: all spikes")


def measured(network: Network, images: NDArray[np.uint8], *, name: str = "images") -> Activity:
    """Measure the activity of a network on images, with the golden model."""
    words = network.encode(images)
    traces = {trace.name: trace.words for trace in network.trace(images)}
    traces["input"] = words
    return from_words(network, traces, source=f"measured on {len(words)} {name}")


def from_words(network: Network, words: dict[str, NDArray | None], *, source: str) -> Activity:
    """Lay out what left each op (and "input"), uint8 (samples, ...) in C order, as activity."""
    from spikeloom.ops import Conv2d, Dense, Readout

    spikes: list[NDArray[np.uint8] | None] = []
    for op in network.layers:
        if not isinstance(op, (Conv2d, Dense, Readout)):
            spikes.append(None)
            continue
        feed = network.layer_sources(op)[0]
        edge, values = network.edges[feed], words[feed]
        assert values is not None
        cube = values.reshape(len(values), edge.channels, edge.pixels).transpose(0, 2, 1)
        spikes.append(_SET_BITS[cube])
    return Activity(tuple(spikes), source)
