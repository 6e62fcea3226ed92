"""Spike encoders, decoders and the packer: settings from their dataclass, manual from its rule.

A core's gates are imported when it is made, so listing the catalogue costs nothing.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
from typing import Any

from amaranth.lib import wiring
from spikeloom.fixed import Fixed
from spikeloom.hardware import encoders as hardware
from spikeloom.hardware.encoders import (
    BSAParameters,
    CoreParameters,
    ValueParameters,
    channel_bits,
)

from spikeloom_hdl.catalogue.core import Core

__all__ = ["ENCODER_CORES", "encoder_parameters", "gaussian_responses", "parameter_class"]

#: Name of the component and the parameters' class, without and with ``Parameters``; its module in
#: ``spikeloom_hdl.encoders``; title.
_CORES = (
    ("StepForward", "step_forward", "step-forward encoder"),
    ("LIF", "lif", "leaky integrate-and-fire encoder"),
    ("PWM", "pwm", "pulse-width encoder"),
    ("BSA", "bsa", "Ben's spiker algorithm"),
    ("HoughSpiker", "hough_spiker", "Hough's spiker algorithm"),
    ("Delta", "delta", "send-on-delta encoder"),
    ("Rate", "rate", "deterministic rate encoder"),
    ("Poisson", "poisson", "random rate encoder"),
    ("Latency", "latency", "time-to-first-spike encoder"),
    ("Phase", "phase", "phase (bit plane) encoder"),
    ("Burst", "burst", "burst encoder"),
    ("ThresholdBased", "threshold_based", "threshold-based encoder"),
    ("MovingWindow", "moving_window", "moving-window encoder"),
    ("SigmaDelta", "sigma_delta", "second-order sigma-delta encoder"),
    ("Population", "population", "Gaussian receptive fields"),
    ("Observation", "observation", "reinforcement-learning observations to values"),
    ("StepForwardDecoder", "step_forward_decoder", "step-forward decoder"),
    ("LIFDecoder", "lif_decoder", "leaky sum of spikes"),
    ("BSADecoder", "bsa_decoder", "binary FIR decoder of BSA spikes"),
    ("Packer", "packer", "spikes to packed words of a SpikePack network"),
)


def gaussian_responses(bits: int, neurons: int, response_bits: int) -> tuple[tuple[int, ...], ...]:
    """Responses of receptive fields spread evenly over 0..1, as wide as their distance.

    Returns ``neurons`` rows of 2^bits entries: what PopulationParameters takes as ``table``.
    """
    top, full = (1 << response_bits) - 1, (1 << bits) - 1

    def response(neuron: int, value: int) -> int:
        distance = value / full * (neurons - 1) - neuron
        return round(top * math.exp(-0.5 * distance * distance))

    return tuple(tuple(response(n, v) for v in range(full + 1)) for n in range(neurons))


def parameter_class(name: str) -> type[CoreParameters]:
    """Class of the parameters of a core of the catalogue."""
    component = next(c for c, _, _ in _CORES if _parameters(c).NAME == name)
    return _parameters(component)


def _parameters(component: str) -> type[CoreParameters]:
    return getattr(hardware, f"{component}Parameters")


def _defaults(kind: type[CoreParameters]) -> dict[str, Any]:
    """Settings of a core: the fields, a sample's format as ``width`` and ``fraction``."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        value = field.default
        if field.name == "format":
            made = field.default_factory()
            rest = made.width - made.fraction
            result |= {"width": made.width, "fraction": f"width-{rest}"}
        else:
            result[field.name] = value
    return result


def _format(width: int, fraction: str | int) -> Fixed:
    if not 4 <= width <= 24:
        raise ValueError(f"width must be an integer in 4..24, not {width}")
    text = str(fraction)
    try:
        bits = width - int(text[6:]) if text.startswith("width-") else int(text)
    except ValueError:
        raise ValueError(f"fraction must be an integer or width-N, not {text!r}") from None
    return Fixed(width, bits)


def encoder_parameters(name: str, settings: dict[str, Any]) -> CoreParameters:
    """Parameters of a core from its settings; what is missing has its default.

    Raises ValueError, TypeError for what the dataclass refuses.
    """
    kind = parameter_class(name)
    given = {**_defaults(kind), **settings}
    if "width" in given:
        given["format"] = _format(given.pop("width"), given.pop("fraction"))
    parameters = kind(**given)
    if isinstance(parameters, hardware.PopulationParameters) and not given["table"]:
        p = parameters
        table = gaussian_responses(p.bits, p.neurons, p.response_bits)
        return dataclasses.replace(p, table=table)
    return parameters


def _field_lines(parameters: CoreParameters) -> list[str]:
    """The run-time parameters of a channel."""
    if not parameters.fields:
        return ["Run-time parameters: none."]
    about = " ".join((inspect.getdoc(type(parameters).fields) or "").split())
    lines = [
        "Run-time parameters: a transfer on p writes all of one channel; it takes effect for"
        " samples accepted after it, never for earlier ones, and comes before a sample that is"
        f" offered in the same cycle. {about}",
    ]
    for f in parameters.fields:
        kind = "two's complement" if f.signed else "unsigned"
        default = f"{f.default}"
        if f.spread:
            default = f"({f.default} + {f.spread} * channel) mod 2^{f.bits}"
        lines.append(f"  {f.name}: {f.bits} bits, {kind}, {f.low}..{f.high}; {default} after reset")
    return lines


def _format_lines(parameters: Any) -> list[str]:
    format = getattr(parameters, "format", None)
    if format is None:
        return []
    return [
        f"Samples: {format.width} bits, two's complement; the integer n stands for"
        f" n * 2^{-format.fraction}.",
    ]


def _rate_lines(core: Any) -> list[str]:
    p = core.parameters
    what = {1: "cycle"}.get(core.interval, f"{core.interval} cycles")
    order = "for any order of channels"
    if hasattr(core, "spacing"):
        order = f"where transfers of one channel are {core.spacing} cycles apart"
    lines = [
        f"Rate: a transfer in every {what}, {order}. Latency: {core.latency} cycles from a transfer"
        " in to its transfer out, when nothing waits."
    ]
    if isinstance(p, BSAParameters):
        lines.append(
            f"A spike waits for the {p.taps - 1} samples after its own, or for the end of the"
            f" frame, which takes {p.taps - 1} steps more."
        )
    if isinstance(p, ValueParameters) and p.output == "events":
        lines.append("A word takes as many cycles as it has spikes, one at least.")
    if p.channels > 1:
        rows = 1 << channel_bits(p.channels)
        lines.append(
            f"Reset: the memories are swept for about {rows} cycles, in which no port is ready."
        )
    return lines


def _tap_lines(core: Any) -> list[str]:
    if not hasattr(core, "default_taps"):
        return []
    p = core.parameters
    return [
        "Filter: a transfer on taps writes one of the taps, which all channels share; write them"
        f" while no frame is under way. After reset, from index 0, {p.tap_bits} bits each, two's"
        f" complement: {', '.join(str(tap) for tap in core.default_taps)}.",
    ]


def _notes(core: Any) -> list[str]:
    """What a user of an encoder core must know."""
    p = core.parameters
    rule = (inspect.getdoc(type(p)) or "").splitlines()
    common = (inspect.getdoc(CoreParameters) or "").splitlines()[2:]
    return [
        *_format_lines(p),
        *_rate_lines(core),
        "",
        *_field_lines(p),
        *_tap_lines(core),
        "",
        "Rule, in integers (after reset, or after `last`, the next sample of a channel starts a"
        " frame, marked `first` or not; >> rounds down)",
        *(f"  {line}".rstrip() for line in rule),
        "",
        *common,
    ]


def _core(component: str, module: str, title: str) -> tuple[str, Core]:
    kind = _parameters(component)

    def make(settings: dict[str, Any]) -> wiring.Component:
        gates = importlib.import_module(f"spikeloom_hdl.encoders.{module}")
        return getattr(gates, component)(encoder_parameters(kind.NAME, settings))

    whole = "frame of its channel"
    return kind.NAME, Core(title, _defaults(kind), make, _notes, whole)


#: By name, see ``NAME`` of the parameters.
ENCODER_CORES: dict[str, Core] = dict(_core(*entry) for entry in _CORES)
