"""From a trained network to spikes, and from spikes to integers.

``convert`` runs three passes, each a file: :mod:`trace` (what the model computes, as plain
operations), :mod:`fold` (normalisations into weights), :mod:`calibrate` (thresholds from data). It
returns a :class:`SpikingNetwork`, an ordinary torch module. ``lower`` turns that into integers.
"""

from __future__ import annotations

from spikeloom.conversion.calibrate import convert
from spikeloom.conversion.lower import LayerReport, lower, lowering_report
from spikeloom.conversion.spiking import EdgeReport, InputWords, Report, SpikingNetwork
from spikeloom.conversion.trace import Normalise

__all__ = [
    "EdgeReport",
    "InputWords",
    "LayerReport",
    "Normalise",
    "Report",
    "SpikingNetwork",
    "convert",
    "lower",
    "lowering_report",
]
