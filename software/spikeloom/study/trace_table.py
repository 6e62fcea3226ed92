"""What a run in gates shows beside the golden model: per layer, and per buffer behind a fork."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from spikeloom.study.differences import Difference, differing, first_difference, spike_steps

if TYPE_CHECKING:
    from spikeloom.golden import Trace
    from spikeloom.network import Network

__all__ = ["BufferRecord", "LayerRecord", "TraceRecord", "buffer_table", "layer_table"]

_SPIKES = np.array([word.bit_count() for word in range(256)], dtype=np.uint8)  #: of every word


@dataclass(eq=False)
class LayerRecord:
    """What one layer gave out, summed over the samples seen so far.

    shape: of one sample; bits: T of its words, 0 of potentials. compared, differing: values (v0
    and words). words, nonzero: words given out, those that are not zero. steps: (bits,) spikes of
    each time step. pixels: (height, width) spikes of each pixel over all channels; None where a
    layer has no pixels or no words. busy: cycles in which its input waited for it alone; held:
    what it offered was not taken; starved: it could have taken input, there was none; None where
    nobody counted.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bits: int
    compared: int = 0
    differing: int = 0
    words: int = 0
    nonzero: int = 0
    busy: int | None = None
    held: int | None = None
    starved: int | None = None
    steps: NDArray[np.int64] = field(init=False)
    pixels: NDArray[np.int64] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.steps = np.zeros(self.bits, dtype=np.int64)
        if self.bits and len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1:
            self.pixels = np.zeros(self.shape[1:], dtype=np.int64)

    @property
    def samples(self) -> int:
        """Samples whose words were seen."""
        return self.words // max(int(np.prod(self.shape)), 1)

    @property
    def density(self) -> float:
        """Share of words that are not zero."""
        return self.nonzero / max(self.words, 1)

    @property
    def rates(self) -> NDArray[np.float64]:
        """Spikes a word of each time step, (bits,), 0 to 1."""
        return self.steps / max(self.words, 1)

    def see(self, words: NDArray[np.uint8]) -> None:
        """Add the words of some samples, (n, *shape)."""
        self.words += words.size
        self.nonzero += int(np.count_nonzero(words))
        self.steps += spike_steps(words, self.bits)
        if self.pixels is not None:
            self.pixels += _SPIKES[words].sum((0, 1), dtype=np.int64)


@dataclass(frozen=True)
class BufferRecord:
    """A buffer behind a fork: its name in the gates, what lies on its two sides.

    depth: its capacity in transfers; most: the most that was in it. stalled: cycles in which it was
    offered a transfer and had no room.
    """

    name: str
    source: str
    layer: str
    depth: int
    most: int = 0
    stalled: int = 0

    def seen(self, most: int, stalled: int) -> BufferRecord:
        """Return it after a further run."""
        return replace(self, most=max(self.most, most), stalled=self.stalled + stalled)


@dataclass(eq=False)
class TraceRecord:
    """What a network did in gates, and where it differs from the golden model.

    samples: so many so far. layers: the network's input, then its layers. buffers: by name.
    difference: the first one, None if there is none. cycles: from the first transfer in to the
    last out, summed over the runs. interval, latency: mean cycles between results, and of a
    sample; 0 where nobody measured.
    """

    network: Network
    samples: int = 0
    cycles: int = 0
    interval: float = 0.0
    latency: float = 0.0
    difference: Difference | None = None
    buffers: dict[str, BufferRecord] = field(default_factory=dict)
    layers: list[LayerRecord] = field(init=False)

    def __post_init__(self) -> None:
        net = self.network
        self.layers = [LayerRecord("input", "input", net.input_shape, net.input_bits)]
        for op in net.layers:
            edge = net.edges[op.name]
            bits = 0 if edge.signed else edge.bits
            self.layers.append(LayerRecord(op.name, op.kind, edge.shape, bits))

    @property
    def compared(self) -> int:
        """Values compared, of all layers."""
        return sum(layer.compared for layer in self.layers)

    @property
    def differing(self) -> int:
        """Those that differ."""
        return sum(layer.differing for layer in self.layers)

    def see(
        self,
        words: NDArray[np.uint8],
        golden: Sequence[Trace],
        found: Sequence[Trace],
        start: int = 0,
    ) -> None:
        """Add samples: what went in (n, inputs), both traces, the number of the first of them.

        found: layers of the golden trace; one may come more than once.
        """
        self.samples += len(words)
        self.layers[0].see(words.reshape(-1, *self.network.input_shape))
        by_name = {layer.name: layer for layer in self.layers[1:]}
        for trace, wrong in zip(found, differing(golden, found), strict=True):
            record = by_name[trace.name]
            record.compared += sum(v.size for v in (trace.potentials, trace.words) if v is not None)
            record.differing += wrong
            if trace.words is not None:
                record.see(trace.words)
        first = first_difference(self.network, golden, found)
        if first is not None:
            first = replace(first, sample=first.sample + start)
            if self.difference is None or first.sample < self.difference.sample:
                self.difference = first

    def verdict(self) -> str:
        """One line: that all is equal, or what is the first difference."""
        if self.difference is None:
            return f"all {self.compared:,} values equal"
        return f"{self.differing:,} of {self.compared:,} values differ; {self.difference}"


def layer_table(record: TraceRecord, title: str = "") -> Table:
    """Return the layers: what was compared, how much they spike, an image, and when."""
    table = Table(title=title or None, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for name in ("shape", "compared", "differ", "non-zero", "spikes\nan image"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("in step 1, 2 .. T", overflow="fold")
    timed = any(layer.busy is not None for layer in record.layers)
    if timed:
        table.add_column("cycles\nbusy", justify="right", no_wrap=True)
    images = max(record.samples, 1)
    for layer in record.layers:
        row = [
            layer.name,
            layer.kind.removesuffix("2d"),
            "x".join(map(str, layer.shape)),
            f"{layer.compared:,}" if layer.compared else "",
            _differ(layer),
            f"{100 * layer.density:.1f} %" if layer.words else "",
            _count(layer.steps.sum() / images) if layer.words else "",
            " ".join(_count(n / images) for n in layer.steps) if layer.words else "",
        ]
        if timed:
            row.append("" if layer.busy is None else f"{layer.busy / images:,.0f}")
        table.add_row(*row)
    return table


def _differ(layer: LayerRecord) -> Any:
    if not layer.compared:
        return ""
    return f"[red]{layer.differing:,}[/]" if layer.differing else "0"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 9.95 or number == 0 else f"{number:.1f}"


def buffer_table(record: TraceRecord) -> Table:
    """Return the buffers behind forks: how deep, how full, how often they had no room."""
    table = Table(title="buffers behind forks, in transfers", box=SIMPLE_HEAD)
    for name in ("name", "from", "to"):
        table.add_column(name, no_wrap=True)
    for name in ("depth", "highest level", "cycles stalled"):
        table.add_column(name, justify="right", no_wrap=True)
    for b in record.buffers.values():
        table.add_row(b.name, b.source, b.layer, str(b.depth), str(b.most), f"{b.stalled:,}")
    return table
