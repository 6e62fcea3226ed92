"""What a spike encoder looks like in gates, and the integer rule it follows: plain data, no torch.

The docstrings of these frozen dataclasses are the specification that golden model and core share.
"""

from spikeloom.hardware.encoders.common import CoreParameters, Field, channel_bits
from spikeloom.hardware.encoders.signal import (
    BSADecoderParameters,
    BSAParameters,
    DeltaParameters,
    LIFDecoderParameters,
    LIFParameters,
    PWMParameters,
    SignalParameters,
    StepForwardDecoderParameters,
    StepForwardParameters,
)
from spikeloom.hardware.encoders.value import (
    LatencyParameters,
    ObservationParameters,
    PhaseParameters,
    PoissonParameters,
    PopulationParameters,
    RateParameters,
    ValueParameters,
)

__all__ = [
    "BSADecoderParameters",
    "BSAParameters",
    "CoreParameters",
    "DeltaParameters",
    "Field",
    "LIFDecoderParameters",
    "LIFParameters",
    "LatencyParameters",
    "ObservationParameters",
    "PWMParameters",
    "PhaseParameters",
    "PoissonParameters",
    "PopulationParameters",
    "RateParameters",
    "SignalParameters",
    "StepForwardDecoderParameters",
    "StepForwardParameters",
    "ValueParameters",
    "channel_bits",
]
