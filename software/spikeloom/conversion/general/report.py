"""What a general conversion did, edge by edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GeneralEdge", "GeneralReport"]


@dataclass(frozen=True, eq=False)
class GeneralEdge:
    """One tensor between operations.

    name: path of the module, or name of the call, that makes it. form: ``input words``, ``words``,
    ``signed words``, ``offset words``, ``wide words`` (sums of words), ``potentials`` (before a
    neuron), ``indices`` (no floats: masks too) or ``float``.
    bits: of the words; 0 for potentials and floats. operation: what makes it. granularity: who
    shares a threshold, thresholds: real value of one LSB, rule: how they were found; of neurons
    only. error: root mean square difference to the original on the calibration data, relative to
    its root mean square. rate: mean share of non-zero words; of neurons only. enters_weights:
    whether weights read it.
    """

    name: str
    form: str
    bits: int
    operation: str
    granularity: str
    thresholds: NDArray[np.float64]
    error: float
    rate: float
    enters_weights: bool
    rule: str = ""

    @property
    def steps(self) -> int:
        """T, as edges of integer networks call it."""
        return self.bits


@dataclass(frozen=True)
class GeneralReport(Sequence[GeneralEdge]):
    """Edges, in order; ``str`` gives a table. problems: what keeps the model from integers.

    output_error: of every output, relative, on the calibration data.
    """

    edges: tuple[GeneralEdge, ...]
    problems: tuple[str, ...]
    output_error: dict[str, float]

    def __len__(self) -> int:
        return len(self.edges)

    def __iter__(self) -> Iterator[GeneralEdge]:
        return iter(self.edges)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one edge, or a slice of them."""
        return self.edges[index]

    @property
    def floats(self) -> tuple[GeneralEdge, ...]:
        """Edges that stay float."""
        return tuple(e for e in self.edges if e.form == "float")

    def __str__(self) -> str:
        width = max([len(e.name) for e in self.edges] + [4]) + 2
        rows = [
            f"float spiking network, no integers for gates: {len(self.problems)} reason(s)",
            *(f"  {problem}" for problem in self.problems),
            f"{'edge':<{width}}{'form':<13}{'bits':>4}  {'operation':<22}{'scale':<19}"
            f"{'threshold':>21}{'error':>8}{'rate':>7}",
        ]
        for e in self.edges:
            span = ""
            if len(e.thresholds):
                low, high = float(e.thresholds.min()), float(e.thresholds.max())
                span = f"{low:.4g}" if low == high else f"{low:.4g} .. {high:.4g}"
            bits = str(e.bits) if e.bits else "-"
            rate = f"{e.rate:.1%}" if span else ""
            rows.append(
                f"{e.name:<{width}}{e.form:<13}{bits:>4}  {e.operation[:21]:<22}"
                f"{f'{e.granularity} {e.rule}':<19}{span:>21}{e.error:>8.2%}{rate:>7}"
            )
        for name, error in self.output_error.items():
            rows.append(f"output {name or '0'}: {error:.2%} off on the calibration data")
        return "\n".join(rows)
