"""What a spike encoder looks like in gates, and the integer rule it follows: plain data, no torch.

The docstrings of these frozen dataclasses are the specification that golden model and core share.
"""

from spikeloom.hardware.encoders.common import CoreParameters, Field, channel_bits
from spikeloom.hardware.encoders.more import (
    BurstParameters,
    HoughSpikerParameters,
    MovingWindowParameters,
    SigmaDeltaParameters,
    ThresholdBasedParameters,
)
from spikeloom.hardware.encoders.packer import PackerMode, PackerParameters
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
    "BurstParameters",
    "CoreParameters",
    "DeltaParameters",
    "Field",
    "HoughSpikerParameters",
    "LIFDecoderParameters",
    "LIFParameters",
    "LatencyParameters",
    "MovingWindowParameters",
    "ObservationParameters",
    "PWMParameters",
    "PackerMode",
    "PackerParameters",
    "PhaseParameters",
    "PoissonParameters",
    "PopulationParameters",
    "RateParameters",
    "SigmaDeltaParameters",
    "SignalParameters",
    "StepForwardDecoderParameters",
    "StepForwardParameters",
    "ThresholdBasedParameters",
    "ValueParameters",
    "channel_bits",
]
