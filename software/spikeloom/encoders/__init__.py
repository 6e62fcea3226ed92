"""Spike encoders: signals and values into spike trains and back, as torch modules.

Each has an integer golden model (``.fixed(format)``) and a core in gates with the same bits.
"""

from spikeloom.encoders.base import engine
from spikeloom.encoders.signal import SignalEncoder, State
from spikeloom.encoders.step_forward import StepForward

__all__ = ["SignalEncoder", "State", "StepForward", "engine"]
