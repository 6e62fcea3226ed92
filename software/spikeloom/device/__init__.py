"""Talk to a board: ``Device`` over a serial port or the virtual board."""

from spikeloom.device.device import Device
from spikeloom.device.identity import DeviceInfo
from spikeloom.device.transport import Transport, open_transport

__all__ = ["Device", "DeviceInfo", "Transport", "open_transport"]
