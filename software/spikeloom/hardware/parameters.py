"""What a network looks like in gates: its layers, what feeds them, and how each is folded.

Frozen dataclasses, shared by the lowering, the memory image, the gateware and the driver. A device
describes itself with the words of :meth:`NetworkParameters.to_words`, so that a driver can rebuild
the parameters of whatever a board runs, and say exactly where a network differs from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikeloom.errors import SpikeloomError
from spikeloom.hardware.flow import Buffer, buffers
from spikeloom.hardware.folding import (
    COLUMN_BITS,
    ROW_BITS,
    Folding,
    Form,
    Multiplier,
    WeightMemory,
)
from spikeloom.hardware.plain_layers import (
    AddParameters,
    FireParameters,
    PadParameters,
    PoolParameters,
)
from spikeloom.hardware.port import Port
from spikeloom.hardware.synapses import (
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    SynapseParameters,
)
from spikeloom.hardware.window import Window
from spikeloom.hardware.words import (
    bytes_to_words,
    pack_fields,
    unpack_fields,
    words_to_bytes,
)

__all__ = [
    "COLUMN_BITS",
    "COUNTER_BITS",
    "GATEWARE_VERSION",
    "MAX_LAYERS",
    "ROW_BITS",
    "AddParameters",
    "ConvParameters",
    "DenseParameters",
    "DepthwiseParameters",
    "FireParameters",
    "Folding",
    "Form",
    "LayerParameters",
    "Multiplier",
    "NetworkParameters",
    "PadParameters",
    "PoolParameters",
    "Port",
    "SynapseParameters",
    "WeightMemory",
    "Window",
]

#: Raised by one whenever the gates of a layer, or the layout of its memories, change meaning.
GATEWARE_VERSION = 2

COUNTER_BITS = 32
MAX_LAYERS = 15  #: the load bus addresses 16; one is kept free

LayerParameters = (
    DenseParameters
    | ConvParameters
    | DepthwiseParameters
    | PoolParameters
    | FireParameters
    | AddParameters
    | PadParameters
)
#: Kinds of layers, in the order of their numbers in a device's description.
_KINDS: tuple[type, ...] = (
    DenseParameters,
    ConvParameters,
    DepthwiseParameters,
    PoolParameters,
    FireParameters,
    AddParameters,
    PadParameters,
)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class NetworkParameters:
    """A whole network in gates, in an order in which each layer follows what feeds it.

    layers: the last one is a readout (a dense layer that does not fire), and the only one.
    sources: for each layer the layers that feed it, -1 for the network's input; without, a chain.
    """

    layers: tuple[LayerParameters, ...]
    sources: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        count = len(self.layers)
        _require(1 <= count <= MAX_LAYERS, f"a network has 1 to {MAX_LAYERS} layers, not {count}")
        if not self.sources:
            object.__setattr__(self, "sources", tuple((k - 1,) for k in range(count)))
        _require(len(self.sources) == count, f"{len(self.sources)} sources for {count} layers")
        _require(self.sources[0][0] == -1, "the first layer must take the network's input")
        last = self.layers[-1]
        _require(
            isinstance(last, DenseParameters) and not last.fires,
            "the last layer must be a readout (output_bits 0)",
        )
        for k, (layer, feeds) in enumerate(zip(self.layers, self.sources, strict=True)):
            _require(
                len(feeds) == len(layer.ports_in) and all(-1 <= s < k for s in feeds),
                f"layer {k} takes {len(layer.ports_in)} inputs from layers before it, not from"
                f" {feeds}",
            )
            for slot, source in enumerate(feeds):
                self._check_edge(source, k, self.port_of(source), layer.ports_in[slot])
        for k in range(-1, count - 1):
            _require(bool(self.consumers(k)), f"nothing uses the output of layer {k}")

    def _check_edge(self, source: int, layer: int, a: Port, b: Port) -> None:
        where = f"between {f'layers {source}' if source >= 0 else 'input'} and {layer}"
        before = self.layers[source] if source >= 0 else None
        if isinstance(before, DenseParameters):
            message = f"layer {source} does not fire: only the last layer is a readout"
            _require(before.fires, message)
        _require(
            a.pixels * a.channels == b.pixels * b.channels,
            f"{where}: {a.pixels * a.channels} outputs do not match {b.pixels * b.channels} inputs",
        )
        _require(a.pixels == b.pixels, f"{where}: {a} do not match {b}")
        _require(
            (a.bits, a.signed) == (b.bits, b.signed),
            f"{where}: words of {a.bits} bits do not match {b.bits}"
            if a.signed == b.signed
            else f"{where}: {a} do not match {b}",
        )
        _require(
            b.lanes % a.lanes == 0 or a.lanes % b.lanes == 0,
            f"{where}: {b.lanes} words a transfer in, {a.lanes} out: one must divide the other"
            " (scan, lanes or fire_lanes of the two layers)",
        )

    @property
    def input_port(self) -> Port:
        """The stream of the network's input: that of the first layer."""
        return self.layers[0].ports_in[0]

    def port_of(self, layer: int) -> Port:
        """Return the stream that leaves a layer; -1 is the network's input."""
        return self.input_port if layer < 0 else self.layers[layer].port_out

    def consumers(self, layer: int) -> tuple[tuple[int, int], ...]:
        """Return (layer, slot) of everything that a layer (-1: the input) feeds."""
        return tuple(
            (k, slot)
            for k, feeds in enumerate(self.sources)
            for slot, source in enumerate(feeds)
            if source == layer
        )

    @cached_property
    def buffers(self) -> tuple[Buffer, ...]:
        """Buffers behind forks, each as deep as it must be at least; see :mod:`.flow`."""
        return buffers(self.layers, self.sources, self.input_port)

    @property
    def least_depths(self) -> dict[tuple[int, int], int]:
        """Depths, in transfers, of the buffers before (layer, slot): less would stand still."""
        return {(b.layer, b.slot): b.depth for b in self.buffers}

    @property
    def depths(self) -> dict[tuple[int, int], int]:
        """Depths that are built: twice the least, with which a fork would go pixel by pixel, each
        waiting until the one before has come through all layers to the join. One more at least: in
        graphs of crossing branches the transfer at a fork can hold up the layer before it."""
        return {edge: max(2 * n, n + 1) for edge, n in self.least_depths.items()}

    def to_words(self) -> tuple[int, ...]:
        """Describe the network in 32-bit words: version and layer count, then the layers."""
        data = b""
        for layer, feeds in zip(self.layers, self.sources, strict=True):
            shown = [*feeds, -1] if isinstance(layer, ConvParameters) else feeds
            data += bytes([_KINDS.index(type(layer)), *(s + 1 for s in shown[:2])])
            data += pack_fields(layer)
        return (GATEWARE_VERSION << 16 | len(self.layers), *bytes_to_words(data))

    @classmethod
    def from_words(cls, words: Sequence[int]) -> NetworkParameters:
        """Rebuild from :meth:`to_words`; SpikeloomError if they come from other gateware."""
        version, count = words[0] >> 16, words[0] & 0xFFFF
        if version != GATEWARE_VERSION:
            raise SpikeloomError(
                f"the board runs gateware version {version}, this driver speaks {GATEWARE_VERSION}:"
                " rebuild the bitstream"
            )
        try:
            return cls._read(words, count)
        except (ValueError, StopIteration) as error:
            raise SpikeloomError(
                f"the board describes {count} layers in {len(words)} words: {error}"
            ) from error

    @classmethod
    def _read(cls, words: Sequence[int], count: int) -> NetworkParameters:
        data = iter(words_to_bytes(words[1:]))
        layers, sources = [], []
        for _ in range(count):
            kind = next(data)
            if kind >= len(_KINDS):
                raise ValueError(f"layer kind {kind} is unknown")
            feeds = [next(data) - 1]
            # how many there are is known only after the layer: a convolution has place for two
            if _KINDS[kind] in (AddParameters, ConvParameters):
                feeds.append(next(data) - 1)
            layer = unpack_fields(_KINDS[kind], data)
            layers.append(layer)
            sources.append(tuple(feeds[: len(layer.ports_in)]))
        if any(data):
            raise ValueError("there is more than the layers")
        return cls(tuple(layers), tuple(sources))

    @property
    def build_id(self) -> int:
        """Hash of the structure, 64 bits: equal exactly when weights of one fit the other."""
        data = b"".join(word.to_bytes(4, "little") for word in self.to_words())
        return int.from_bytes(hashlib.blake2s(data, digest_size=8).digest(), "little")

    def stream_words(self, words: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Lay samples out as they stream in: pixel by pixel, each padded to whole transfers.

        words: (n, channels * pixels), C order of (channels, pixels). Returns (n, transfers *
        lanes).
        """
        port = self.input_port
        wide = port.transfers_per_pixel * port.lanes
        out = np.zeros((len(words), port.pixels, wide), dtype=words.dtype)
        out[..., : port.channels] = words.reshape(-1, port.channels, port.pixels).transpose(0, 2, 1)
        return out.reshape(len(words), port.pixels * wide)

    @property
    def synapse_layers(self) -> tuple[int, ...]:
        """Indices of the layers with weights."""
        return tuple(k for k, p in enumerate(self.layers) if isinstance(p, SynapseParameters))

    @property
    def potential_layers(self) -> tuple[int, ...]:
        """Indices of the layers with potentials v0: all but pools and paddings."""
        return tuple(k for k, p in enumerate(self.layers) if hasattr(p, "accumulator_bits"))

    @property
    def output_layers(self) -> tuple[int, ...]:
        """Indices of the layers whose output is more than their potentials v0: that fire or pool.

        Those are all but the readout and the convolutions that do not fire.
        """
        return tuple(
            k
            for k, p in enumerate(self.layers)
            if not (p.port_out.signed and hasattr(p, "accumulator_bits"))
        )

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(layer, slot) of every stream that enters a layer."""
        return tuple((k, s) for k, feeds in enumerate(self.sources) for s in range(len(feeds)))

    @property
    def counter_names(self) -> tuple[str, ...]:
        """Names of the run-time counters, in the order of ``NetworkCore.counters``.

        cycles: cycles with at least one sample inside; samples: results given out;
        stalls: cycles in which a result waited for its reader; starved: cycles in which the core
        had samples inside and could have taken input, but none was offered; occupancy: samples
        inside, summed over the cycles (occupancy / samples = mean latency, Little's law);
        events_l, spikes_l: non-zero words, and set bits, that entered layer l, each once a sample,
        for the layers with weights.
        """
        return (
            "cycles",
            "samples",
            "stalls",
            "starved",
            "occupancy",
            *(name for k in self.synapse_layers for name in (f"events_{k}", f"spikes_{k}")),
        )
