"""Hough's spiker algorithm in gates: BSA that sums how far the signal is below the filter."""

from __future__ import annotations

from spikeloom_hdl.encoders.bsa import BSA
from spikeloom_hdl.encoders.bsa_arithmetic import ShortfallTerms

__all__ = ["HoughSpiker"]


class HoughSpiker(BSA):
    """Samples in, spikes (0 or 1) out: the rule is in HoughSpikerParameters.

    Forms, ports, times, ``parameters`` (HoughSpikerParameters), ``taps`` and errors are as of BSA.
    """

    terms = ShortfallTerms
