"""What ``fit`` found, and what it would have cost to have more or fewer spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Literal

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.table import Table

__all__ = ["Error", "FitReport", "TradeOff"]

Error = Literal["mse", "correlation"]


@dataclass(frozen=True)
class TradeOff:
    """One point of a trade-off curve: nothing that was tried has both fewer spikes and less error.

    density: spikes a sample. snr_db: signal variance over mean square error.
    """

    density: float
    snr_db: float
    parameters: Mapping[str, float]


@dataclass(frozen=True)
class FitReport:
    """Result of ``SignalEncoder.fit``; per channel where it is a tuple.

    parameters: those that were searched. error: "mse" over the signal's variance, or 1 -
    correlation. snr_db: signal variance over mean square error. density: spikes a sample. trials:
    parameter sets tried on each channel. seconds: wall clock. curve: the trade-offs met on the way,
    from few spikes to many. notes: what a reader should know, one line each.
    """

    encoder: str
    parameters: Mapping[str, tuple[float, ...]]
    kind: Error
    weight: float
    max_density: float | None
    error: tuple[float, ...]
    snr_db: tuple[float, ...]
    density: tuple[float, ...]
    trials: int
    seconds: float
    curve: tuple[tuple[TradeOff, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def seconds_per_trial(self) -> float:
        """Seconds to encode, decode and score one channel with one parameter set."""
        return self.seconds / (self.trials * len(self.error))

    def __rich__(self) -> Group:
        label = "MSE / variance" if self.kind == "mse" else "1 - correlation"
        bound = "" if self.max_density is None else f", density <= {self.max_density:g}"
        table = Table(box=SIMPLE)
        for heading in ("channel", *self.parameters, label, "SNR dB", "spikes/sample"):
            table.add_column(heading, justify="right")
        for c in range(len(self.error)):
            table.add_row(
                str(c),
                *(f"{values[c]:.5g}" for values in self.parameters.values()),
                f"{self.error[c]:.3g}",
                f"{self.snr_db[c]:.2f}",
                f"{self.density[c]:.4f}",
            )
        return Group(
            f"{self.encoder}, fitted: least {label} + {self.weight:g} x density{bound};"
            f" {self.trials} trials a channel, {self.seconds:.2f} s",
            table,
            *self.notes,
        )

    def __str__(self) -> str:
        text = StringIO()
        Console(file=text, width=100).print(self)
        return text.getvalue().rstrip()
