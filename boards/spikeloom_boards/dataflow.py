"""A network's cycles: its layers, buffers and lane converters as processes on a few samples.

Throughput and latency come out of how layers wait for each other, which no formula of one layer
gives. A sample takes tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spikeloom.errors import SpikeloomError
from spikeloom.hardware.parameters import (
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    LayerParameters,
    NetworkParameters,
    PoolParameters,
    Port,
)

from spikeloom_boards.activity import Activity
from spikeloom_boards.dataflow_layers import dense, plain
from spikeloom_boards.dataflow_links import Link, Process, fifo, fork, lanes, run, sink
from spikeloom_boards.dataflow_windows import conv, depthwise, pool

__all__ = ["Timing", "layer_interval", "simulate"]


@dataclass(frozen=True, eq=False)
class Timing:
    """Cycles of a run in which every sample waits at the input.

    starts, ends: int64 (samples,), first transfer in and last transfer out of each.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def interval(self) -> float:
        """Mean cycles between results; the latency where there is one only."""
        if len(self.ends) < 2:
            return self.latency
        return float(self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)

    @property
    def latency(self) -> float:
        """Mean cycles from a sample's first transfer in to its last transfer out."""
        return float((self.ends - self.starts + 1).mean())


class _Wiring:
    """Makes the links and processes of a network."""

    def __init__(self, network: NetworkParameters, activity: Activity):
        self.network, self.samples = network, activity.samples
        self.processes: list[Process] = []
        self.depths = network.depths
        self.inputs: dict[tuple[int, int], Link] = {}
        self.links: list[Link] = []
        count = len(network.layers)
        outs = {k: self._link() for k in range(-1, count)}
        self.source, self.sink = outs[-1], outs[count - 1]
        for k in range(-1, count - 1):
            self._feed(k, outs[k])
        for k, layer in enumerate(network.layers):
            ins = [self.inputs[k, slot] for slot in range(len(layer.ports_in))]
            self.processes += layer_processes(layer, activity.spikes[k], ins, outs[k], self.samples)

    def _link(self) -> Link:
        self.links.append(Link())
        return self.links[-1]

    def _feed(self, source: int, link: Link) -> None:
        """Bring what leaves a layer to everything that it feeds."""
        consumers = self.network.consumers(source)
        branches = [link] if len(consumers) == 1 else [self._link() for _ in consumers]
        if len(consumers) > 1:
            self.processes.append(fork(link, branches))
        port = self.network.port_of(source)
        for (layer, slot), branch in zip(consumers, branches, strict=True):
            end = branch
            depth = self.depths.get((layer, slot), 0)
            if depth:
                end = self._link()
                self.processes.append(fifo(depth, branch, end))
            self.inputs[layer, slot] = self._convert(
                port, self.network.layers[layer].ports_in[slot], end
            )

    def _convert(self, a: Port, b: Port, link: Link) -> Link:
        if a.lanes == b.lanes:
            return link
        end = self._link()
        self.processes.append(lanes(a, b, link, end, self.samples))
        return end


def simulate(network: NetworkParameters, activity: Activity) -> Timing:
    """Run samples through a network, one after another without a pause.

    Raises SpikeloomError if the network stands still (a buffer is too small).
    """
    wiring = _Wiring(network, activity)
    transfers = network.input_port.transfers
    source, end = wiring.source, wiring.sink
    source.put.extend([0] * (transfers * activity.samples))
    results = activity.samples * network.layers[-1].port_out.transfers
    if not run([*wiring.processes, sink(end)], end.taken, results):
        raise SpikeloomError("the network stands still: a buffer between its layers is too small")
    per_result = network.layers[-1].port_out.transfers
    starts = np.array(source.taken[::transfers])
    ends = np.array(end.taken[per_result - 1 :: per_result])
    return Timing(starts, ends)


def layer_interval(layer: LayerParameters, spikes: NDArray[np.uint8] | None, samples: int) -> float:
    """Mean cycles of a sample if nothing else held a layer up; two samples at least."""
    ins, o = [Link() for _ in layer.ports_in], Link()
    for link, port in zip(ins, layer.ports_in, strict=True):
        link.put.extend([0] * (samples * port.transfers))
    per_result = layer.port_out.transfers
    processes = layer_processes(layer, spikes, ins, o, samples)
    run([*processes, sink(o)], o.taken, samples * per_result)
    ends = o.taken[per_result - 1 :: per_result]
    return (ends[-1] - ends[0]) / (samples - 1)


def layer_processes(
    layer: LayerParameters,
    spikes: NDArray[np.uint8] | None,
    ins: Sequence[Link],
    o: Link,
    samples: int,
) -> list[Process]:
    """Return the processes of a layer between its streams."""
    if isinstance(layer, ConvParameters):
        assert spikes is not None
        return conv(layer, spikes, ins[0], ins[1] if len(ins) > 1 else None, o)
    if isinstance(layer, DenseParameters):
        assert spikes is not None
        return dense(layer, spikes, ins[0], o)
    if isinstance(layer, DepthwiseParameters):
        return depthwise(layer, ins[0], o, samples)
    if isinstance(layer, PoolParameters):
        return pool(layer, ins[0], o, samples)
    return plain(layer, ins, o, samples)
