"""The serial transport on a pseudo-terminal, and addresses."""

from __future__ import annotations

import os

import pytest
from spikeloom.device import Device, Transport, open_transport
from spikeloom.device.identity import line_rates
from spikeloom.device.serial_port import SerialTransport
from spikeloom.device.transport import split_address
from spikeloom.errors import DeviceError, LinkTimeoutError


@pytest.fixture
def terminal():
    pty = pytest.importorskip("pty", reason="pseudo-terminals need a POSIX system")
    main, port = pty.openpty()
    os.set_blocking(main, False)
    yield main, os.ttyname(port)
    os.close(main)
    os.close(port)


def test_bytes_go_both_ways(terminal):
    main, name = terminal
    transport = open_transport(f"serial://{name}")
    assert isinstance(transport, Transport)
    assert isinstance(transport, SerialTransport)
    transport.write(b"\x00\x11\x13\xff")
    assert os.read(main, 100) == b"\x00\x11\x13\xff"
    os.write(main, bytes(range(256)))
    heard = b""
    while len(heard) < 256:
        more = transport.read(transport.now() + 5)
        assert more, "nothing came for 5 s"
        heard += more
    assert heard == bytes(range(256))
    assert transport.read(transport.now()) == b""
    before = transport.now()
    assert transport.read(before + 0.02) == b""
    assert transport.now() >= before + 0.02
    transport.set_baud(1_000_000)
    assert transport.baud == 1_000_000
    transport.close()


def test_a_port_is_opened_by_one_program(terminal):
    _, name = terminal
    transport = SerialTransport(name)
    with pytest.raises(DeviceError, match=r"cannot open .*: another program uses it"):
        SerialTransport(name)
    transport.close()


def test_nobody_at_the_other_end(terminal):
    _, name = terminal
    with pytest.raises(LinkTimeoutError, match=f"no board answers at .* at serial://{name}"):
        Device.open(f"serial://{name}", baud=1_000_000)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("serial:///dev/no-such-port", "no such port: is the board plugged in"),
        ("/dev/no-such-port", "no such port"),
        ("serial://", "needs a port"),
        ("carrier-pigeon://roof", "unknown scheme 'carrier-pigeon'; known: serial://, sim://"),
    ],
)
def test_bad_addresses(address: str, message: str):
    with pytest.raises(DeviceError, match=message) as caught:
        open_transport(address)
    assert "\n" not in str(caught.value)


def test_addresses():
    assert split_address("sim://build/x?uart=exact") == ("sim", "build/x?uart=exact")
    assert split_address("serial:///dev/ttyUSB0") == ("serial", "/dev/ttyUSB0")
    assert split_address("COM3") == ("serial", "COM3")


def test_line_rates():
    assert line_rates(24e6, 24_000_000)[0] == (24_000_000, 1)
    rates = line_rates(24e6, 3_000_000)
    assert rates[0] == (3_000_000, 8)
    assert (115_200, 208) in rates
    assert all(abs(24e6 / cycles / baud - 1) <= 0.02 for baud, cycles in rates)
    assert [baud for baud, _ in rates] == sorted((baud for baud, _ in rates), reverse=True)
    assert line_rates(1e3, 3_000_000) == []
