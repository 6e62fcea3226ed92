"""Where two runs of a network part: the first sample, layer, channel, position and step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikeloom.errors import InputError

if TYPE_CHECKING:
    from spikeloom.golden import Trace
    from spikeloom.network import Network

__all__ = ["Difference", "differing", "first_difference", "spike_steps"]

What = Literal["potential", "word"]


@dataclass(frozen=True)
class Difference:
    """The first value in which a run differs from the golden model.

    sample, layer, channel: where; position: (row, column) of the pixel, () for flat layers.
    what: a potential v0, or a word where all potentials before it are equal (then the fire stage,
    or a layer without potentials, is wrong). step: the time step (1 .. T) whose spike is the first
    to differ; None where the layer does not fire, or where potentials differ and spikes do not.
    expected, found: the two values.
    """

    sample: int
    layer: str
    channel: int
    position: tuple[int, ...]
    what: What
    step: int | None
    expected: int
    found: int

    def __str__(self) -> str:
        where = f"layer {self.layer!r}, channel {self.channel}"
        if self.position:
            where += f", position {self.position}"
        step = "no spike differs" if self.step is None else f"spikes differ from step {self.step}"
        return (
            f"sample {self.sample}: {where}: the golden model has the {self.what}"
            f" {self.expected}, the hardware {self.found} ({step})"
        )


def spike_steps(words: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    """Count spikes of each time step, (bits,), first step (most significant bit) first."""
    return np.array([np.count_nonzero(words >> (bits - 1 - t) & 1) for t in range(bits)])


def differing(golden: Sequence[Trace], found: Sequence[Trace]) -> list[int]:
    """For each trace of ``found``: how many of its values differ from those of the same layer.

    What ``found`` does not show (None) is not compared. Raises InputError when a shape is another,
    or something is shown that the golden model does not have.
    """
    return [
        sum(int(np.count_nonzero(a != b)) for _, a, b in _pairs(expected, shown))
        for expected, shown in _matched(golden, found)
    ]


def first_difference(
    network: Network, golden: Sequence[Trace], found: Sequence[Trace]
) -> Difference | None:
    """Return the first difference; None if all is equal. Errors as for :func:`differing`.

    First is the first sample with one, in it the first of ``found`` (potentials before words), in
    that the first pixel, and in that the first channel.
    """
    best: tuple[int, What, str, NDArray[Any], NDArray[Any]] | None = None
    for expected, shown in _matched(golden, found):
        for what, a, b in _pairs(expected, shown):
            wrong = (a != b).reshape(len(a), -1).any(1)
            sample = int(wrong.argmax()) if wrong.any() else len(a)
            if sample < (len(a) if best is None else best[0]):
                best = sample, what, shown.name, a[sample], b[sample]
    if best is None:
        return None
    sample, what, name, a, b = best
    # channels last: a stream gives pixel after pixel
    *position, channel = (int(k) for k in np.argwhere(np.moveaxis(a != b, 0, -1))[0])
    values = int(a[(channel, *position)]), int(b[(channel, *position)])
    step = _step(network, name, channel, what, *values)
    return Difference(sample, name, channel, tuple(position), what, step, *values)


def _matched(golden: Sequence[Trace], found: Sequence[Trace]) -> Iterator[tuple[Trace, Trace]]:
    layers = {trace.name: trace for trace in golden}
    for trace in found:
        if trace.name not in layers:
            raise InputError(f"the golden model has no layer {trace.name!r}")
        yield layers[trace.name], trace


def _pairs(expected: Trace, found: Trace) -> Iterator[tuple[What, NDArray[Any], NDArray[Any]]]:
    """What both have, or should have: potentials, then words."""
    sides: tuple[tuple[What, Any, Any], ...] = (
        ("potential", expected.potentials, found.potentials),
        ("word", expected.words, found.words),
    )
    for what, a, b in sides:
        if b is None:
            continue
        if a is None or a.shape != b.shape:
            raise InputError(
                f"layer {found.name!r}: the hardware gives {what}s {b.shape}, the golden model"
                f" {'none' if a is None else a.shape}"
            )
        yield what, a, b


def _step(
    network: Network, name: str, channel: int, what: What, expected: int, found: int
) -> int | None:
    """Time step of the first spike that differs."""
    edge = network.edges[name]
    if edge.signed:
        return None
    if what == "potential":
        op: Any = next(layer for layer in network.layers if layer.name == name)
        theta = int(np.broadcast_to(op.threshold, (edge.channels,))[channel])
        top = (1 << edge.bits) - 1
        expected, found = (min(max(v // theta, 0), top) for v in (expected, found))
    changed = expected ^ found
    return edge.bits - changed.bit_length() + 1 if changed else None
