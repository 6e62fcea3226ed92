"""Models that cannot (yet) become integers, converted to a float spiking network.

:mod:`capture` records the model as a torch.fx graph and gives every operation a rule; :mod:`plan`
places neurons so that every weight reads packed words; :mod:`calibrate` finds thresholds layer by
layer. ``spikeloom.convert`` comes here when the integer passes find something without integers.
"""

from __future__ import annotations

from spikeloom.conversion.general.calibrate import convert_general
from spikeloom.conversion.general.capture import Captured, capture
from spikeloom.conversion.general.network import GeneralSpikingNetwork
from spikeloom.conversion.general.report import GeneralEdge, GeneralReport

__all__ = [
    "Captured",
    "GeneralEdge",
    "GeneralReport",
    "GeneralSpikingNetwork",
    "capture",
    "convert_general",
]
