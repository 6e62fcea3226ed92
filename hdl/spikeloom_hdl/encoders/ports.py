"""Payloads of the encoder cores: samples, spikes, values, words, and run-time parameters."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from spikeloom.hardware.encoders import (
    CoreParameters,
    PackerParameters,
    SignalParameters,
    ValueParameters,
)
from spikeloom.hardware.encoders.common import channel_bits

__all__ = [
    "packed_layout",
    "samples_layout",
    "settings_layout",
    "spikes_layout",
    "taps_layout",
    "train_layout",
    "values_layout",
    "words_layout",
]


def _marked(fields: dict[str, Any], channels: int, **more: Any) -> data.StructLayout:
    tail = {"channel": channel_bits(channels), "first": 1, "last": 1}
    return data.StructLayout({**fields, **tail, **more})


def samples_layout(width: int, channels: int) -> data.StructLayout:
    """A sample, two's complement, of a channel; ``first`` and ``last`` of its frame."""
    return _marked({"sample": signed(width)}, channels)


def spikes_layout(
    parameters: SignalParameters, *, start_bits: int | None = None
) -> data.StructLayout:
    """A spike, two's complement; ``start``: the side-band, meaningful with ``first``.

    With ``output="events"`` also ``time``. start_bits: width of the side-band where it is not that
    of a sample.
    """
    more: dict[str, Any] = {}
    if parameters.output == "events":
        more["time"] = unsigned(parameters.time_bits)
    if parameters.side_band:
        more["start"] = signed(start_bits or parameters.format.width)
    return _marked({"spike": signed(parameters.spike_bits)}, parameters.channels, **more)


def values_layout(bits: int, channels: int) -> data.StructLayout:
    """A value, unsigned, of a channel."""
    return _marked({"value": unsigned(bits)}, channels)


def words_layout(parameters: ValueParameters) -> data.StructLayout:
    """A packed word, first step most significant; with ``output="events"`` a spike and its time.

    An event with ``spike`` = 0 only marks the ``first`` or the ``last`` word of a frame, which has
    no spikes.
    """
    if parameters.output == "dense":
        return _marked({"word": unsigned(parameters.steps)}, parameters.channels)
    return _marked({"spike": 1}, parameters.channels, time=unsigned(parameters.time_bits))


def settings_layout(parameters: CoreParameters) -> data.StructLayout:
    """All run-time parameters of a channel: payload of the stream ``p``."""
    fields = {f.name: signed(f.bits) if f.signed else unsigned(f.bits) for f in parameters.fields}
    return data.StructLayout({"channel": channel_bits(parameters.channels), **fields})


def taps_layout(taps: int, bits: int) -> data.StructLayout:
    """One coefficient of a filter, two's complement: payload of the stream ``taps``."""
    return data.StructLayout({"index": channel_bits(taps), "tap": signed(bits)})


def train_layout(parameters: PackerParameters) -> data.StructLayout:
    """A spike as a packer takes it from any signal encoder: no side-band, no time."""
    return _marked({"spike": signed(parameters.spike_bits)}, parameters.channels)


def packed_layout(parameters: PackerParameters) -> data.StructLayout:
    """A word of a SpikePack network's input."""
    return _marked({"word": unsigned(parameters.output_bits)}, parameters.output_channels)
