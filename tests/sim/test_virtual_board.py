"""The virtual board's serial line, clock and errors, around a core that echoes."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
import serial
from spikeloom.device.transport import Transport, open_transport
from spikeloom.errors import BuildError, DeviceError, LinkTimeoutError
from spikeloom_sim.board_model import wrapper
from spikeloom_sim.virtual_board import (
    PseudoTerminal,
    SimTransport,
    build_virtual_board,
    main,
)

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from echo_core import PARAMETERS, echo_verilog

EVERY_BYTE = bytes(range(256))


@pytest.fixture(scope="module", params=["ulx3s-85f", "icebreaker"])
def folder(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    return build_virtual_board(request.param, PARAMETERS, out, verilog=echo_verilog(request.param))


@pytest.fixture(scope="module")
def ulx3s(tmp_path_factory):
    out = tmp_path_factory.mktemp("board")
    return build_virtual_board("ulx3s-85f", PARAMETERS, out, verilog=echo_verilog("ulx3s-85f"))


def echo(transport, data):
    transport.write(data)
    received = b""
    while len(received) < len(data):
        chunk = transport.read(transport.now() + 0.01)
        assert chunk, f"only {len(received)} of {len(data)} bytes came back"
        received += chunk
    return received


@pytest.mark.parametrize("mode", ["", "?uart=exact"])
def test_bytes_come_back_at_every_rate(folder, mode):
    with SimTransport(f"{folder}{mode}") as transport:
        assert isinstance(transport, Transport)
        assert echo(transport, EVERY_BYTE[:20]) == EVERY_BYTE[:20]
        for baud in (460_800, 1_000_000, transport.max_baud):
            transport.set_baud(baud)
            before = transport.cycles
            assert echo(transport, EVERY_BYTE) == EVERY_BYTE
            bits = (transport.cycles - before) * baud / transport.clock_hz
            # ten bits a byte, and the way there and back; the last stop bit is seen in its middle
            assert 2559 <= bits < 2600
        assert transport.framing_errors == 0


def test_fast_mode_is_one_bit_a_cycle(ulx3s):
    with SimTransport(str(ulx3s)) as transport:
        assert transport.max_baud == transport.clock_hz
    with SimTransport(f"{ulx3s}?uart=exact") as transport:
        assert transport.max_baud == 3_000_000
        with pytest.raises(DeviceError, match="goes up to 3000000 baud, not 75000000"):
            transport.set_baud(75_000_000)


def test_the_rate_changes_after_what_was_written_before(ulx3s):
    with SimTransport(str(ulx3s)) as transport:
        transport.write(b"slow")
        transport.set_baud(transport.max_baud)
        data = b""
        while len(data) < 4:
            data += transport.read(transport.now() + 1e-3)
        assert data == b"slow"
        assert transport.now() > 39 / 115_200
        before = transport.cycles
        assert echo(transport, b"fast") == b"fast"
        assert transport.cycles - before < 100


def test_deadlines_hold_in_device_time(ulx3s):
    with SimTransport(str(ulx3s)) as transport:
        for _ in range(50):
            deadline = transport.now() + 1.7e-7
            assert transport.read(deadline) == b""
            assert deadline <= transport.now() < deadline + 2 / transport.clock_hz
        now = transport.now()
        assert transport.read(now - 1) == b""
        assert transport.now() == now


def test_runs_are_the_same(ulx3s):
    def run():
        with SimTransport(str(ulx3s)) as transport:
            transport.set_baud(1_234_567)
            return echo(transport, EVERY_BYTE), transport.cycles

    assert run() == run()


def test_the_button_resets(folder):
    with SimTransport(str(folder)) as transport:
        transport.press()
        transport.read(transport.now() + 5e-4)
        seen = set()
        for _ in range(8):
            transport.read(transport.now() + 1000 / transport.clock_hz)
            seen.add(tuple(transport.lit()))
        assert seen == {()}
        transport.press(False)
        for _ in range(10):
            transport.read(transport.now() + 1000 / transport.clock_hz)
            seen.add(tuple(transport.lit()))
        assert len(seen) == 2  # the heartbeat beats again


def test_it_registers_as_a_transport(ulx3s):
    transport = open_transport(f"sim://{ulx3s}")
    assert isinstance(transport, SimTransport)
    transport.close()
    with pytest.raises(DeviceError, match="closed"):
        transport.write(b"x")


def damaged(tmp_path, ulx3s, text):
    out = tmp_path / "damaged"
    shutil.copytree(ulx3s, out)
    (out / "board.json").write_text(text)
    return out


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 0, "clock_hz": 1}'])
def test_a_damaged_description_is_named(tmp_path, ulx3s, text):
    with pytest.raises(DeviceError, match=r"damaged or of another version; build it: python -m"):
        SimTransport(str(damaged(tmp_path, ulx3s, text)))


def test_what_is_missing_is_named(tmp_path, ulx3s):
    with pytest.raises(DeviceError, match=r"there is no virtual board in .*nowhere; build it: "):
        SimTransport(str(tmp_path / "nowhere"))
    with pytest.raises(DeviceError, match=r"holds no virtual board"):
        SimTransport(str(tmp_path))
    for options in ("?uart=wrong", "?speed=1", "?seed=x"):
        with pytest.raises(DeviceError, match="uart=fast or uart=exact, and seed=N"):
            SimTransport(f"{ulx3s}{options}")


def test_a_program_that_does_not_run_is_named(tmp_path, ulx3s):
    out = tmp_path / "broken"
    shutil.copytree(ulx3s, out)
    (out / "board").write_text("#!/bin/sh\necho it broke >&2\nexit 7\n")
    with pytest.raises(DeviceError, match=r"ended with status 7 after cycle 0: it broke"):
        SimTransport(str(out))


def test_a_dead_simulation_is_an_error(ulx3s):
    with SimTransport(str(ulx3s)) as transport:
        transport._process.kill()
        with pytest.raises(DeviceError, match=r"ended with status -9"):
            transport.read(transport.now() + 1)


def test_a_slow_simulation_is_given_up(ulx3s):
    slow = pytest.raises(LinkTimeoutError, match="nothing for 0.2 s of wall clock")
    with SimTransport(str(ulx3s), wall_limit=0.2) as transport, slow:
        transport.read(3600.0)  # an hour of device time is more than 0.2 s


def test_a_pseudo_terminal_for_people(ulx3s):
    with SimTransport(f"{ulx3s}?uart=exact") as transport:
        terminal = PseudoTerminal(transport)
        line = serial.Serial(terminal.path, 115_200, timeout=0)
        try:
            for baud in (115_200, 1_000_000):
                line.baudrate = baud
                line.write(b"hello")
                received, before = b"", transport.now()
                while len(received) < 5 and transport.now() < before + 0.1:
                    terminal.step()
                    received += line.read(100)
                assert received == b"hello"
        finally:
            line.close()
            terminal.close()


def test_unknown_pins_are_refused():
    with pytest.raises(BuildError, match="no model for the pin sdram_0__io"):
        wrapper(["clk25_0__io", "uart_0__rx__io", "uart_0__tx__io", "sdram_0__io"], {})
    with pytest.raises(BuildError, match="the top has no pin for rx, tx"):
        wrapper(["clk25_0__io"], {})


def test_the_command_line(ulx3s, tmp_path, capsys):
    assert main([str(ulx3s)]) == 0
    assert capsys.readouterr().out == f"sim://{ulx3s} is ready\n"
    assert main([str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert json.loads((ulx3s / "board.json").read_text())["board"] == "ulx3s-85f"


def test_a_board_that_closes_its_pipes_and_lives_on_is_ended(tmp_path, monkeypatch):
    description = {"format": 1, "clock_hz": 1e6, "board": "none", "lights": []}
    (tmp_path / "board.json").write_text(json.dumps(description))
    (tmp_path / "board").write_text("#!/bin/sh\nexec sleep 600 <&- >&-\n")
    (tmp_path / "board").chmod(0o755)
    wait, ended = subprocess.Popen.wait, []

    def impatient(process, timeout=None):
        if timeout is not None:
            raise subprocess.TimeoutExpired("board", timeout)
        ended.append(wait(process))
        return ended[-1]

    monkeypatch.setattr(subprocess.Popen, "wait", impatient)
    with pytest.raises(DeviceError, match=r"ended with status -9 after cycle 0"):
        SimTransport(str(tmp_path))
    assert ended == [-9]
