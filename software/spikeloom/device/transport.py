"""How bytes reach a board: the protocol that every transport follows, and how one is opened."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol, cast, runtime_checkable

from spikeloom.errors import DeviceError

ENTRY_POINTS = "spikeloom.transports"  #: entry point group: scheme of an address -> factory


@runtime_checkable
class Transport(Protocol):
    """A line to a board: bytes out, bytes in, and a clock.

    Every wait of the driver is a :meth:`read` with a deadline on the transport's own clock. A
    simulated board publishes its device time there, so that a deadline means the same at any
    simulation speed. A transport starts at the board's default rate (115,200 baud on boards).
    """

    max_baud: int  #: the fastest line rate it supports

    def write(self, data: bytes) -> None:
        """Queue bytes for the board; may return before they are on the wire."""
        ...

    def read(self, deadline: float) -> bytes:
        """Return every byte that has arrived, waiting for one until ``now() >= deadline``.

        Returns ``b""`` only when the deadline has passed. A deadline in the past asks for what is
        there, without waiting.
        """
        ...

    def now(self) -> float:
        """Return the time in seconds, on the clock that deadlines are compared with."""
        ...

    def set_baud(self, baud: int) -> None:
        """Change the line rate once every queued byte has left the wire."""
        ...

    def close(self) -> None:
        """Release the line; further calls are errors."""
        ...


def split_address(address: str) -> tuple[str, str]:
    """Split ``scheme://rest``; a bare path or port name is a serial port."""
    scheme, mark, rest = address.partition("://")
    return (scheme, rest) if mark else ("serial", address)


def open_transport(address: str) -> Transport:
    """Open the transport that an address names: ``serial:///dev/ttyUSB0``, ``sim://build/x``.

    Raises DeviceError when no installed transport has that scheme, or when it cannot be opened.
    """
    scheme, rest = split_address(address)
    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if scheme not in found:
        known = ", ".join(f"{name}://" for name in sorted(found)) or "none installed"
        raise DeviceError(f"{address!r} has an unknown scheme {scheme!r}; known: {known}")
    try:
        factory = found[scheme].load()
    except ImportError as error:
        raise DeviceError(
            f"{scheme}:// needs a package that is missing ({error.name}):"
            f" pip install 'spikeloom[{scheme}]'"
        ) from error
    return cast(Transport, factory(rest))
