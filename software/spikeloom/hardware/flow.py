"""Buffers that keep branches from waiting for each other for ever: where, and how deep at least.

Where a stream forks and its branches meet again, the branch that needs more of the sample before it
gives its first pixel (a convolution waits for rows) makes the other one wait, and somebody has to
hold what the fork gives meanwhile: a buffer on every edge that leaves the fork.

What layers promise, and nothing more is assumed of what lies between a fork and a join:

- output pixel n leaves once ``needs(n)`` pixels of the input have come, the sample's first pixel is
  offered, and the pixels before n have left; after its last pixel a layer counts on into the next
  sample;
- a layer with a memory of its own (convolution, pooling, fully connected) takes ``needs(n)`` pixels
  without further condition while pixels 0 .. n - 1 have left: the memory holds a whole window, and
  pixels leave in raster order. What a sample has beyond its last window is taken when the last
  pixel has left;
- the others, and a skip connection everywhere, take a pixel only together with the output pixel
  that it goes into: an addition waits for both its inputs.

A network run on demand, nothing earlier than the readout wants it, is one order in which all of
this can happen. The most pixels that lie on an edge in that order, given by the fork and not yet
taken, are what its buffer must hold, less the transfer that a fork hands over by itself. What is
said above never forbids what it once allowed, so that if one order works with these buffers, every
order does: whatever the stalls, none stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from spikeloom.hardware.plain_layers import AddParameters, FireParameters, PadParameters
from spikeloom.hardware.port import Port

__all__ = ["Buffer", "buffers"]

_WITHOUT_MEMORY = (AddParameters, FireParameters, PadParameters)

#: samples run on demand: what the first leaves behind is there when the second comes
_SAMPLES = 2

#: One input of a layer: (layer, slot).
_Edge = tuple[int, int]
_Needs = tuple[tuple[tuple[int, ...], int], ...]


@dataclass(frozen=True)
class Buffer:
    """A buffer behind a fork.

    layer, slot: the input it feeds; source: the layer whose output forks, -1 for the input.
    depth: transfers (of the source's lanes) that it must hold at least; the fork holds one more.
    """

    layer: int
    slot: int
    source: int
    depth: int


def buffers(
    layers: Sequence[Any], sources: Sequence[Sequence[int]], inputs: Port
) -> tuple[Buffer, ...]:
    """List the buffers of a network, at most one for each edge that leaves a fork.

    layers: their parameters; sources: for each the layers that feed it, -1 for the network's input,
    whose stream is ``inputs``. Edges on which no pixel ever lies are left out.
    """
    feeds = tuple(tuple(one) for one in sources)
    every = [source for one in feeds for source in one]
    if len(set(every)) == len(every):
        return ()
    needs = tuple(
        (tuple(map(p.needs, range(p.port_out.pixels))), p.ports_in[0].pixels) for p in layers
    )
    memory = tuple(not isinstance(p, _WITHOUT_MEMORY) for p in layers)
    found = []
    for (layer, slot), pixels in _most(needs, memory, feeds):
        source = feeds[layer][slot]
        port = inputs if source < 0 else layers[source].port_out
        if pixels:
            depth = pixels * port.transfers_per_pixel - 1
            found.append(Buffer(layer, slot, source, depth))
    return tuple(found)


@lru_cache(maxsize=64)  # the folding changes nothing here, and plans try many
def _most(
    needs: _Needs, memory: tuple[bool, ...], sources: tuple[tuple[int, ...], ...]
) -> tuple[tuple[_Edge, int], ...]:
    """For each edge that leaves a fork: the most pixels that lie there at a time.

    The last of them may still be at the fork, and has not left the layer before it then, which
    promises less so: the depth behind one fork has a say in what lies before it.
    """
    most: dict[_Edge, int] = {}
    while True:
        run = _OnDemand(needs, memory, sources, most)
        for sample in range(1, _SAMPLES + 1):
            run.give(len(needs) - 1, sample * len(needs[-1][0]))
        if run.most == most:
            return tuple(sorted(most.items()))
        most = run.most


class _OnDemand:
    """Pixels of every layer, each given when somebody wants it and no earlier.

    known: depths, in pixels, of an earlier run. given: pixels of a layer (-1: the input) that have
    left, over all samples. most: for each edge that leaves a fork, the most pixels on it.
    """

    def __init__(
        self,
        needs: _Needs,
        memory: tuple[bool, ...],
        sources: tuple[tuple[int, ...], ...],
        known: dict[_Edge, int],
    ) -> None:
        self._needs, self.memory, self.sources, self.known = needs, memory, sources, known
        self.given = dict.fromkeys(range(-1, len(needs)), 0)
        self.consumers: dict[int, list[_Edge]] = {k: [] for k in self.given}
        for layer, feeds in enumerate(sources):
            for slot, source in enumerate(feeds):
                self.consumers[source].append((layer, slot))
        self.most: dict[_Edge, int] = {}

    def needs(self, layer: int, pixel: int) -> int:
        """Input pixels, over all samples, that must have come before a layer's pixel leaves."""
        table, pixels = self._needs[layer]
        return pixel // len(table) * pixels + table[pixel % len(table)]

    def give(self, source: int, count: int) -> None:
        """Let a layer's first ``count`` pixels leave."""
        while self.given[source] < count:
            pixel = self.given[source]
            self._offer(source, pixel)
            self.given[source] = pixel + 1
            for slot, feed in self._feeds(source):
                if slot or not self.memory[source]:
                    self.give(feed, self._through(source, slot, pixel))
            if len(self.consumers[source]) > 1:
                self._look(source)

    def _offer(self, source: int, pixel: int) -> None:
        """Let everything happen that must before a layer's ``pixel`` can leave."""
        if source < 0 or self.given[source] > pixel:
            return
        self.give(source, pixel)
        table, pixels = self._needs[source]
        for slot, feed in self._feeds(source):
            if not slot:
                self._offer(feed, pixel // len(table) * pixels)
            if slot or not self.memory[source]:
                self._offer(feed, self._through(source, slot, pixel) - 1)
            else:
                self.give(feed, self.needs(source, pixel))

    def _feeds(self, layer: int) -> list[tuple[int, int]]:
        return [] if layer < 0 else list(enumerate(self.sources[layer]))

    def _through(self, layer: int, slot: int, pixel: int) -> int:
        """Pixels that have gone through an input without memory once ``pixel`` has left."""
        return pixel + 1 if slot else self.needs(layer, pixel)

    def _taken(self, edge: _Edge) -> int:
        """Pixels that a layer has taken off an edge."""
        layer, slot = edge
        left = self.given[layer]
        if slot or not self.memory[layer]:
            return self._through(layer, slot, left - 1) if left else 0
        behind = self.consumers[layer]
        if len(behind) > 1 and any(self._is_full(e, left) for e in behind):
            left -= 1  # its last pixel is still at the fork
        return self.needs(layer, left)

    def _is_full(self, edge: _Edge, given: int) -> bool:
        lies = given - self._taken(edge)
        return lies > 0 and edge in self.known and lies >= self.known[edge]

    def _look(self, source: int) -> None:
        """Note what lies on the edges that leave a fork."""
        for edge in self.consumers[source]:
            lies = self.given[source] - self._taken(edge)
            self.most[edge] = max(self.most.get(edge, 0), lies)
