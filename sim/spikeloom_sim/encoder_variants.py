"""Which encoder and decoder cores are compared with their golden models, in which widths and forms.

Every core comes with 1, 2, 7 and 64 channels.
"""

from __future__ import annotations

from typing import Any

from amaranth.lib import wiring
from spikeloom.hardware.encoders import CoreParameters
from spikeloom_hdl.catalogue import CORES
from spikeloom_hdl.catalogue.encoders import encoder_parameters

__all__ = ["VARIANTS", "make_components", "variant_names", "variant_parameters"]


def _each(*settings: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Give variants 1, 2, 7, 64 channels in turn, unless they say how many they have."""
    counts = (1, 2, 7, 64)
    return tuple({"channels": counts[k % 4], **given} for k, given in enumerate(settings))


_EVENTS: dict[str, Any] = {"output": "events", "time_bits": 9}

#: By name of the core: settings of its variants.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "step-forward": _each(
        {"width": 16},
        {"width": 4, "levels": 1},
        {"width": 12, "initial": "value", **_EVENTS},
        {"width": 24, "levels": 3},
        {"width": 16, "channels": 8},  # 2 to 8 channels have their state in small RAM
        {"width": 7, "channels": 5, **_EVENTS},
    ),
    "lif": _each(
        {"width": 16, "refractory": 5},
        {"width": 4, "reset": "subtract"},
        {"width": 24, "leak_bits": 9, "reset": "subtract", "refractory": 200},
        {"width": 12, "leak": "shift", **_EVENTS},
    ),
    "pwm": _each(
        {"width": 16},
        {"width": 4, "phase_bits": 8, "carrier": "restart", "bipolar": False},
        {"width": 12, "phase_bits": 17, "carrier": "restart"},
        {"width": 24, "bipolar": False, **_EVENTS},
    ),
    "bsa": _each(
        {"width": 16, "form": "parallel", "taps": 10},
        {"width": 4, "form": "parallel", "taps": 1},
        {"width": 12, "form": "parallel", "taps": 5},
        {"width": 8, "form": "parallel", "taps": 24},
        {"width": 8, "form": "interleaved", "taps": 3},
        {"width": 16, "form": "interleaved", "taps": 10},
        {"width": 24, "form": "interleaved", "taps": 7},
        {"width": 12, "form": "interleaved", "taps": 20},
        {"width": 12, "form": "serial", "taps": 6},
        {"width": 24, "form": "serial", "taps": 1},
        {"width": 16, "form": "serial", "taps": 10},
        {"width": 4, "form": "serial", "taps": 33},
    ),
    "hough-spiker": _each(
        {"width": 16, "form": "parallel", "taps": 10},
        {"width": 12, "form": "serial", "taps": 6},
        {"width": 24, "form": "interleaved", "taps": 10},
        {"width": 8, "form": "parallel", "taps": 5, **_EVENTS},
        {"width": 4, "form": "serial", "taps": 24},
    ),
    "delta": _each(
        {"width": 16},
        {"width": 12, "quanta": 15, "initial": "value"},
        {"width": 4, "quanta": 3, **_EVENTS},
        {"width": 24, "quanta": 4},
        {"width": 16, "log": True, "quanta": 2},
        {"width": 8, "log": True, "initial": "value", "channels": 7},
    ),
    "rate": _each(
        {"bits": 8, "steps": 8},
        {"bits": 1, "steps": 1},
        {"bits": 16, "steps": 32},
        {"bits": 5, "steps": 11, **_EVENTS},
    ),
    "poisson": _each(
        {"bits": 8, "steps": 8},
        {"bits": 1, "steps": 32},
        {"bits": 16, "steps": 3, **_EVENTS},
        {"bits": 5, "steps": 1},
    ),
    "latency": _each(
        {"bits": 8, "steps": 8},
        {"bits": 4, "steps": 1},
        {"bits": 3, "steps": 5, "boundaries": (8, 7, 3, 3, 1), **_EVENTS},
        {"bits": 16, "steps": 32},
    ),
    "phase": _each(
        {"bits": 8, "steps": 8},
        {"bits": 16, "steps": 3},
        {"bits": 5, "steps": 16, **_EVENTS},
        {"bits": 8, "steps": 4},
    ),
    "burst": _each(
        {"bits": 8},
        {"bits": 16, "steps": 32, "spikes": 32, "gap": 1},
        {"bits": 5, "steps": 7, "spikes": 3, "gap": 5, **_EVENTS},
        {"bits": 1, "steps": 1, "spikes": 1, "gap": 1},
    ),
    "threshold-based": _each({"width": 16}, {"width": 4}, {"width": 12, **_EVENTS}, {"width": 24}),
    "moving-window": _each(
        {"width": 16},
        {"width": 4, "window": 0},
        {"width": 12, "window": 1, **_EVENTS},
        {"width": 24, "window": 5},
    ),
    "sigma-delta": _each({"width": 16}, {"width": 4}, {"width": 12, **_EVENTS}, {"width": 24}),
    "population": _each(
        {"bits": 8, "neurons": 8},
        {"bits": 4, "neurons": 2, "response_bits": 16},
        {"bits": 10, "neurons": 20, "response_bits": 3},
        {"bits": 6, "neurons": 11},
    ),
    "observation": _each(
        {"width": 16},
        {"width": 4, "bits": 4, "split": True},
        {"width": 24, "bits": 16, "inverted": True},
        {"width": 12, "bits": 1, "split": True, "inverted": True},
    ),
    "step-forward-decoder": _each(
        {"width": 16},
        {"width": 4, "levels": 2},
        {"width": 12, "initial": "value", "levels": 1},
        {"width": 24, "initial": "value"},
    ),
    "lif-decoder": _each(
        {"width": 16},
        {"width": 4, "leak_bits": 3},
        {"width": 24},
        {"width": 12, "leak_bits": 9},
    ),
    "bsa-decoder": _each(
        {"width": 16, "taps": 10},
        {"width": 4, "taps": 1},
        {"width": 12, "taps": 33},
        {"width": 24, "taps": 3},
    ),
    "packer": _each(
        {"mode": "count", "window": 16},
        {"mode": "bits", "window": 5},
        {"mode": "weighted", "window": 16, "bipolar": False},
        {"mode": "count", "window": 1, "word_bits": 2, "spike_bits": 5},
        {"mode": "weighted", "window": 3, "channels": 7},
        {"mode": "bits", "window": 2, "bipolar": False, "spike_bits": 3, "channels": 2},
    ),
}


def _shown(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | tuple):
        return name if value else f"no-{name}"
    return f"{name}{value}"


def variant_names(core: str) -> list[str]:
    """Names of a core's variants: core/settings."""
    return [
        f"{core}/" + "-".join(_shown(name, value) for name, value in settings.items())
        for settings in VARIANTS[core]
    ]


def variant_parameters(core: str) -> dict[str, CoreParameters]:
    """Parameters of a core's variants, by name."""
    made = (encoder_parameters(core, given) for given in VARIANTS[core])
    return dict(zip(variant_names(core), made, strict=True))


def make_components(core: str) -> dict[str, wiring.Component]:
    """Make the components of a core's variants, by name."""
    made = (CORES[core].make(given) for given in VARIANTS[core])
    return dict(zip(variant_names(core), made, strict=True))
