"""What a user can meet: one line that says what was given, what is allowed, what to do."""

from __future__ import annotations


class SpikeloomError(Exception):
    """Base of every error caused by an input, a tool or a board; the CLI prints it as one line."""


class NetworkFileError(SpikeloomError):
    """A .spikeloom file is damaged, of another version, or holds values out of range."""


class UnsupportedModelError(SpikeloomError):
    """A model has layers that cannot be converted; all of them are listed with their path.

    problems: the same list, one string a layer.
    """

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (message,)


class InputError(SpikeloomError):
    """Data of a wrong shape, dtype or range was given."""


class AccumulatorOverflowError(SpikeloomError):
    """Weights and biases could overflow the accumulator of a layer."""


class ToolError(SpikeloomError):
    """A tool is missing, too old, or failed."""


class BuildError(SpikeloomError):
    """A bitstream or a simulation could not be built (timing not met, does not fit, ...)."""


class DeviceError(SpikeloomError):
    """A board answered with an error, or runs something else than expected."""


class LinkTimeoutError(DeviceError):
    """A deadline passed while waiting for a board; says what was awaited."""
