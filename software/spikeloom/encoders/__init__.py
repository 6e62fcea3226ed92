"""Spike encoders: signals and values into spike trains and back, as torch modules.

Each has an integer golden model (``.fixed(format)``) and a core in gates with the same bits.
"""

from spikeloom.encoders.base import engine
from spikeloom.encoders.bsa import BSA
from spikeloom.encoders.burst import Burst
from spikeloom.encoders.delta import Delta
from spikeloom.encoders.filters import FilterBank, FilterState, smooth
from spikeloom.encoders.hough_spiker import HoughSpiker
from spikeloom.encoders.latency import Latency
from spikeloom.encoders.lif import LIF
from spikeloom.encoders.moving_window import MovingWindow
from spikeloom.encoders.normalise import normalise
from spikeloom.encoders.observation import Observation
from spikeloom.encoders.packer import Packer
from spikeloom.encoders.phase import Phase
from spikeloom.encoders.poisson import Poisson
from spikeloom.encoders.population import GaussianPopulation
from spikeloom.encoders.pwm import PWM
from spikeloom.encoders.rate import Rate
from spikeloom.encoders.sigma_delta import SigmaDelta
from spikeloom.encoders.signal import SignalEncoder, State
from spikeloom.encoders.step_forward import StepForward
from spikeloom.encoders.threshold_based import ThresholdBased
from spikeloom.encoders.value import ValueEncoder

__all__ = [
    "BSA",
    "LIF",
    "PWM",
    "Burst",
    "Delta",
    "FilterBank",
    "FilterState",
    "GaussianPopulation",
    "HoughSpiker",
    "Latency",
    "MovingWindow",
    "Observation",
    "Packer",
    "Phase",
    "Poisson",
    "Rate",
    "SigmaDelta",
    "SignalEncoder",
    "State",
    "StepForward",
    "ThresholdBased",
    "ValueEncoder",
    "engine",
    "normalise",
    "smooth",
]
