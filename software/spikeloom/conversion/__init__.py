"""From a trained network to spikes, and from spikes to integers.

``convert`` runs three passes, each a file: :mod:`trace` (what the model computes, as plain
operations), :mod:`fold` (normalisations into weights), :mod:`calibrate` (thresholds from data). It
returns a :class:`SpikingNetwork`, an ordinary torch module. ``lower`` turns that into integers.
Models that have no integer form become a :class:`GeneralSpikingNetwork` (:mod:`general`), float.
"""

from __future__ import annotations

from spikeloom.conversion.calibrate import convert
from spikeloom.conversion.diagnosis import Diagnosis, LayerDiagnosis, diagnose
from spikeloom.conversion.fine_tune import FINE_TUNE, fine_tune
from spikeloom.conversion.general import GeneralReport, GeneralSpikingNetwork, convert_general
from spikeloom.conversion.lower import LayerReport, lower, lowering_report
from spikeloom.conversion.predicted import LoweringLoss, lowering_loss
from spikeloom.conversion.rate import RateNetwork
from spikeloom.conversion.recipes import Classification, Detection, RateCoding
from spikeloom.conversion.spiking import EdgeReport, InputWords, Report, SpikingNetwork
from spikeloom.conversion.steps_needed import StepsNeeded, steps_needed
from spikeloom.conversion.trace import Normalise
from spikeloom.conversion.trained import spiking

__all__ = [
    "FINE_TUNE",
    "Classification",
    "Detection",
    "Diagnosis",
    "EdgeReport",
    "GeneralReport",
    "GeneralSpikingNetwork",
    "InputWords",
    "LayerDiagnosis",
    "LayerReport",
    "LoweringLoss",
    "Normalise",
    "RateCoding",
    "RateNetwork",
    "Report",
    "SpikingNetwork",
    "StepsNeeded",
    "convert",
    "convert_general",
    "diagnose",
    "fine_tune",
    "lower",
    "lowering_loss",
    "lowering_report",
    "spiking",
    "steps_needed",
]
