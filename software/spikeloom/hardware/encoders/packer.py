"""From spikes to the words of a SpikePack network: structure and integer rule, plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from spikeloom.hardware.encoders.common import CoreParameters, require, require_integer

__all__ = ["PackerMode", "PackerParameters"]

PackerMode = Literal["count", "bits", "weighted"]


@dataclass(frozen=True, kw_only=True)
class PackerParameters(CoreParameters):
    """Spikes of ``window`` samples of a channel become one packed word, or ``window`` of one bit.

    Windows follow each other without overlap from the first sample of a frame; nothing crosses
    frames. The sample marked ``last`` completes its window: the steps that are missing count as 0.
    A window that is incomplete when a sample marked ``first`` comes is dropped.

    A spike s, -2^(spike_bits - 1) .. 2^(spike_bits - 1) - 1, of channel c goes to the ON part of
    the channel, a = max(s, 0), and with ``bipolar`` to the OFF part, b = max(-s, 0); without it,
    spikes below 0 are lost. Part q of channel c is q = c, or 2c (ON) and 2c + 1 (OFF) if bipolar.
    With a_k at step k = 0 .. window - 1 of a window (and b_k likewise):

        count     word = min(sum_k a_k, 2^word_bits - 1), to output channel q
        weighted  word = sum_k [a_k > 0] * 2^(window - 1 - k), to output channel q: the first step
                  is the most significant bit
        bits      for each k: word = [a_k > 0], of one bit, to output channel q * window + k

    They come when the window is complete: ON before OFF, and k = 0, 1, ... in order. ``first`` and
    ``last`` mark all words of the first window of a frame, and of the window that ``last``
    completed.

    window: samples, 1..255; at most 16 unless mode is count. word_bits: 1..16, width of a count.
    spike_bits: 2..5. channels: of the input.
    """

    NAME: ClassVar[str] = "packer"

    mode: PackerMode = "count"
    window: int = 16
    word_bits: int = 4
    bipolar: bool = True
    spike_bits: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        modes = get_args(PackerMode)
        require(self.mode in modes, f"mode must be one of {modes}, not {self.mode!r}")
        require_integer("window", self.window, 1, 255 if self.mode == "count" else 16)
        require_integer("word_bits", self.word_bits, 1, 16)
        require_integer("spike_bits", self.spike_bits, 2, 5)
        require(self.output == "dense", "a packer gives words, not spikes: output is 'dense'")

    @property
    def parts(self) -> int:
        """Parts of an input channel: ON and OFF, or ON alone."""
        return 2 if self.bipolar else 1

    @property
    def output_bits(self) -> int:
        """Width of an output word."""
        return {"count": self.word_bits, "weighted": self.window, "bits": 1}[self.mode]

    @property
    def outputs(self) -> int:
        """Words that a window of an input channel becomes."""
        return self.parts * (self.window if self.mode == "bits" else 1)

    @property
    def output_channels(self) -> int:
        """Channels of the output."""
        return self.channels * self.outputs
