"""The accelerator in Amaranth's simulator, driven by the driver that users have."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from spikeloom.device.device import Device
from spikeloom.device.link import Link
from spikeloom.errors import DeviceError
from spikeloom.hardware import protocol, registers
from spikeloom.hardware.memory_image import image_crc, memory_image
from spikeloom.hardware.parameters import Folding
from spikeloom.hardware.protocol import Command, DeviceFrame, Error, HostFrame, Reply, Status
from spikeloom.network import Network
from spikeloom_hdl.accelerator import Accelerator
from spikeloom_sim.line_faults import Fault, faulty_line
from spikeloom_sim.random_network import random_network

CLOCK_HZ = 20_000  # a millisecond is 20 cycles
FOLDINGS = (Folding(lanes=4, scan=4, fire_lanes=2), Folding(lanes=2, scan=2))


class PysimTransport:
    """A transport into Amaranth's simulator: deterministic, one bit a cycle, and slow.

    ``up`` and ``down`` are the faults of the line, frame by frame.
    """

    max_baud = CLOCK_HZ

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.baud = CLOCK_HZ
        self.up: Fault = lambda frame: (frame,)
        self.down: Fault = lambda frame: (frame,)
        self.reset = Signal()
        self._resetting = False
        self._tail = b""
        self.nonce = iter(range(0x1000, 0x2000)).__next__
        self.cycle = 0
        self._period = 1
        self._queue: deque[int | tuple[int]] = deque()
        self._received = bytearray()
        self._sim = Simulator(ResetInserter(self.reset)(accelerator))
        self._sim.add_clock(1e-6)
        self._sim.add_process(self._wire)

    async def _wire(self, ctx) -> None:
        dut = self.accelerator
        sending: deque[int] = deque()
        byte, bit, wait = 0, 0, 0
        async for _, _, tx in ctx.tick().sample(dut.tx):
            self.cycle += 1
            while not sending and self._queue:
                item = self._queue.popleft()
                if isinstance(item, tuple):
                    self._period = item[0]
                    continue
                levels = [0, *(item >> k & 1 for k in range(8)), 1]
                sending.extend(level for level in levels for _ in range(self._period))
            ctx.set(self.reset, self._resetting)
            ctx.set(dut.rx, sending.popleft() if sending else 1)
            if bit == 0:
                if tx == 0:
                    byte, bit, wait = 0, 1, self._period + (self._period - 1) // 2
            else:
                wait -= 1
                if wait == 0:
                    wait = self._period
                    if bit == 9:
                        self._received.append(byte)
                        bit = 0
                    else:
                        byte |= tx << (bit - 1)
                        bit += 1

    def write(self, data: bytes) -> None:
        for frame in data.split(b"\0")[:-1]:
            for piece in self.up(frame + b"\0"):
                self._queue.extend(piece)

    def read(self, deadline: float) -> bytes:
        end = round(deadline * CLOCK_HZ)
        while not self._received and self.cycle < end:
            self._sim.run_until((self.cycle + min(20, end - self.cycle) + 0.75) * 1e-6)
        data = bytes(self._received)
        self._received.clear()
        *frames, self._tail = (self._tail + data).split(b"\0")
        return b"".join(piece for frame in frames for piece in self.down(frame + b"\0"))

    def wait(self, cycles: int) -> None:
        """Let time pass; what comes is lost."""
        end = self.cycle + cycles
        while self.cycle < end:
            self.read(end / CLOCK_HZ)

    def power_cycle(self) -> None:
        """Reset the board for a few cycles."""
        self._resetting = True
        self.wait(3)
        self._resetting = False
        self.wait(2)

    def now(self) -> float:
        return self.cycle / CLOCK_HZ

    def set_baud(self, baud: int) -> None:
        self.baud = baud
        self._queue.append((round(CLOCK_HZ / baud),))

    def close(self) -> None:
        pass


def tiny(seed: int = 1) -> Network:
    return random_network((16, 8, 4), seed=seed, bits=(4, 4), weight_bits=6, spare_bits=1)


def images(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 256, (count, 16), dtype=np.uint8)
    data[generator.random((count, 16)) < 0.5] = 0
    return data


def board(network: Network, **options) -> PysimTransport:
    parameters = network.parameters(FOLDINGS)
    options = {"clock_hz": CLOCK_HZ, "default_baud": CLOCK_HZ, "board_id": 7} | options
    return PysimTransport(Accelerator(parameters, **options))


def fixed_board(network: Network) -> PysimTransport:
    """A board with the network's weights in its bitstream."""
    return board(network, image=memory_image(network, network.parameters(FOLDINGS)))


def opened(transport: PysimTransport, **options) -> Device:
    link = Link(transport, timeout=3.0, nonce=transport.nonce)
    return Device(transport, link=link, **options)


def linked(transport: PysimTransport) -> Link:
    """Return a session without a device above it."""
    link = Link(transport, timeout=3.0, nonce=transport.nonce)
    link.identify()
    return link


def test_runs_samples_as_the_golden_model():
    network = tiny()
    with opened(board(network)) as device:
        assert device.info.build_id == network.parameters(FOLDINGS).build_id
        assert device.parameters == network.parameters(FOLDINGS)
        assert device.info.board_id == 7
        assert device.info.clock_hz == CLOCK_HZ
        device.load(network)
        data = images(9)
        device.clear_counters()
        logits = device.run(data)
        assert logits.tolist() == network.run(data).tolist()
        counters = device.counters()
        words = network.encode(data)
        hidden = network.trace(data)[0].words
        assert counters["samples"] == 9
        assert counters["events_0"] == np.count_nonzero(words)
        assert counters["spikes_0"] == sum(int(w).bit_count() for w in words.ravel())
        assert counters["events_1"] == np.count_nonzero(hidden)
        assert counters["spikes_1"] == sum(int(w).bit_count() for w in hidden.ravel())
        assert counters["cycles"] >= counters["starved"]
        assert not any(device.link_faults().values())
        statistics = device.link_statistics
        assert statistics["frames_repeated"] == statistics["recoveries"] == 0
        device.clear_counters()
        assert not any(device.counters().values())
        device.write_register("scratch", 0xA5)
        assert device.read_register("scratch") == 0xA5


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_line_changes_nothing(seed: int):
    network = tiny()
    transport = board(network)
    with opened(transport) as device:
        device.load(network)
        device.clear_counters()
        transport.up, transport.down = faulty_line(seed, 0.3), faulty_line(seed + 100, 0.15)
        data = images(9, seed=seed)
        logits = device.run(data)
        transport.up = transport.down = lambda frame: (frame,)
        assert logits.tolist() == network.run(data).tolist()
        assert device.counters()["samples"] == 9  # every sample once
        assert device.link_statistics["recoveries"] > 0
        assert any(device.link_faults().values())


def test_loads_over_a_bad_line():
    network = tiny()
    transport = board(network)
    with opened(transport) as device:
        transport.up, transport.down = faulty_line(4, 0.2), faulty_line(5, 0.2)
        device.load(network)
        transport.up = transport.down = lambda frame: (frame,)
        data = images(4)
        assert device.run(data).tolist() == network.run(data).tolist()


def test_samples_in_fragments_and_results_in_parts():
    network = random_network((500, 2, 60), seed=2, bits=(8, 4), weight_bits=4)
    foldings = (Folding(lanes=2, scan=8, fire_lanes=1), Folding(lanes=10, scan=1, fire_lanes=10))
    accelerator = Accelerator(
        network.parameters(foldings), clock_hz=CLOCK_HZ, default_baud=CLOCK_HZ, frames=4
    )
    generator = np.random.default_rng(3)
    data = generator.integers(1, 256, (2, 500), dtype=np.uint8)  # no zero word: three fragments
    data[1, 20:480] = 0  # runs of more than 255
    with opened(PysimTransport(accelerator)) as device:
        assert device.info.frames == 4
        device.load(network)
        assert device.run(data).tolist() == network.run(data).tolist()
        faults = device.link_faults()
        assert faults["damaged"] == faults["overrun"] == faults["early"] == 0


def test_a_power_cycle_is_noticed():
    network = tiny()
    transport = board(network)
    with opened(transport) as device:
        device.load(network)
        transport.power_cycle()
        with pytest.raises(DeviceError, match="lost this session"):
            device.run(images(3))
        with pytest.raises(DeviceError, match="lost its weights: load the network again"):
            device.run(images(3))
        device.load(network)
        data = images(3)
        assert device.run(data).tolist() == network.run(data).tolist()


def test_reset_forgets_the_weights():
    network = tiny()
    transport = board(network)
    with opened(transport) as device:
        device.load(network)
        assert registers.fields("status", device.read_register("status"))["weights_valid"]
        device.run(images(2))
        device.reset()
        assert not registers.fields("status", device.read_register("status"))["weights_valid"]
        assert not any(device.counters().values())


def test_a_session_in_the_middle_of_a_run_drops_its_samples():
    network = random_network((16, 32, 4), seed=3, bits=(4, 4), weight_bits=6)
    slow = (Folding(lanes=1, scan=2), Folding(lanes=1, scan=1))  # busy for long
    transport = PysimTransport(
        Accelerator(
            network.parameters(slow), clock_hz=CLOCK_HZ, default_baud=CLOCK_HZ, sample_slots=8
        )
    )
    aborted = []

    async def watch(ctx) -> None:
        core = transport.accelerator._core
        async for _, _, busy, abort in ctx.tick().sample(core.busy, core.abort):
            aborted.extend([busy] * abort)

    transport._sim.add_process(watch)
    device = opened(transport)
    device.load(network)
    data = images(7)
    words = network.encode(data)
    link = device._link
    for pause in (0, 200):
        device._ensure_session()
        for sample in range(7):  # zeros: they come faster than they are computed
            for payload in protocol.infer_payloads(sample, bytes(16)):
                link.send(Command.INFER, payload)
        # Part of a sample more, and then another session while samples are anywhere.
        link.send(Command.INFER, bytes((7, 0, 0, 0)) + words[3].tobytes()[:7])
        transport.wait(pause)
        link.broken = True
        device._begin_session()
        assert device.run(data[5:7]).tolist() == network.run(data[5:7]).tolist()
        link.broken = True
    assert sum(aborted) >= 2  # samples were really inside


def test_what_the_host_has_is_not_sent_again():
    network = tiny()
    transport = board(network)
    device = opened(transport)
    device.load(network)
    device.run(images(3))
    link = device._link
    nonce, seq = link.nonce, link._next_seq

    def poll(k: int, received: int, flags: int) -> bytes:
        payload = protocol.words_payload(flags)
        return HostFrame(Command.POLL, (seq + k) & 255, received, nonce, payload).pack()

    # Asked for again: all three. Acknowledged before their turn: not those.
    frames = speak(transport, poll(0, 0, protocol.POLL_RESEND), 2500)
    assert [f.seq for f in frames if f.reply == Reply.RESULT] == [0, 1, 2]
    frames = speak(transport, poll(1, 0, protocol.POLL_RESEND) + poll(2, 3, 0), 2500)
    assert [f.seq for f in frames if f.reply == Reply.RESULT] == [0]
    frames = speak(transport, poll(3, 3, protocol.POLL_RESEND), 1500)
    assert [f.reply for f in frames] == [Reply.STATUS]


def test_what_the_device_refuses():
    network = tiny()
    parameters = network.parameters(FOLDINGS)
    transport = board(network)
    sample = next(protocol.infer_payloads(0, bytes(range(1, 9)) * 2))
    word = protocol.words_payload
    image = memory_image(network, parameters)

    def load(link: Link) -> None:
        for k, (column, words) in enumerate(image):
            link.send(Command.MEM_WRITE, word(column.address, *words.tolist()))
            flags = protocol.MEM_FIRST * (k == 0) | protocol.MEM_LAST * (k == len(image) - 1)
            link.send(Command.MEM_CRC, word(column.address | flags, len(words)))
            link.flush()

    def verify(link: Link) -> None:
        for k, (column, words) in enumerate(image):
            flags = protocol.MEM_FIRST * (k == 0) | protocol.MEM_LAST * (k == len(image) - 1)
            link.send(Command.MEM_CRC, word(column.address | flags, len(words)))
            link.flush()
        (crc,) = link.request(Command.READ, word(registers.BY_NAME["memory_crc"].address | 1 << 8))
        assert crc == image_crc(image)

    def refused(link: Link, *frames: tuple[int, bytes]) -> str:
        def send() -> None:
            for command, payload in frames:
                link.send(command, payload)  # type: ignore[arg-type]
            link.flush()

        with pytest.raises(DeviceError) as caught:
            send()
        return str(caught.value)

    text = protocol.ERROR_TEXT
    assert text[Error.NOT_READY] in refused(linked(transport), (Command.INFER, sample))
    assert text[Error.BAD_COMMAND] in refused(linked(transport), (99, b""))
    assert text[Error.BAD_COMMAND] in refused(linked(transport), (0, b""))
    assert text[Error.BAD_LENGTH] in refused(linked(transport), (Command.READ, b"abc"))
    assert text[Error.BAD_LENGTH] in refused(linked(transport), (Command.WRITE, word(0x85)))
    assert text[Error.BAD_LENGTH] in refused(linked(transport), (Command.SET_BAUD, b""))
    assert text[Error.BAD_LENGTH] in refused(linked(transport), (Command.MEM_WRITE, b"1234567"))
    assert text[Error.BAD_ADDRESS] in refused(linked(transport), (Command.WRITE, word(0x80, 1)))
    assert text[Error.BAD_ADDRESS] in refused(
        linked(transport), (Command.MEM_CRC, word(9 << 26 | protocol.MEM_FIRST, 1))
    )
    link = linked(transport)
    load(link)
    # A column written after the sum began does not count as verified.
    column, words = image[0]
    link.send(Command.MEM_CRC, word(column.address | protocol.MEM_FIRST, len(words)))
    link.send(Command.MEM_WRITE, word(column.address, *words.tolist()))
    link.send(Command.MEM_CRC, word(image[-1][0].address | protocol.MEM_LAST, 1))
    link.flush()
    assert text[Error.NOT_READY] in refused(link, (Command.INFER, sample))
    link = linked(transport)
    verify(link)
    wrong_number = bytes((1,)) + sample[1:]
    wrong_fragment = sample[:2] + b"\1" + sample[3:]
    for bad in (wrong_number, wrong_fragment, sample[:-1], sample + b"\1"):
        assert text[Error.BAD_SAMPLE] in refused(link, (Command.INFER, bad))
        link = linked(transport)
    # After an error nothing is done, but reading works.
    link.logits = 4
    assert text[Error.BAD_SAMPLE] in refused(
        link, (Command.INFER, wrong_number), (Command.INFER, sample)
    )
    link = linked(transport)
    link.logits = 4
    link.send(Command.INFER, sample)
    link.wait(lambda: link.received == 1, "a result")
    link.received = 0  # do not tell the board
    assert text[Error.NOT_COLLECTED] in refused(
        link, (Command.MEM_WRITE, word(image[0][0].address, 1))
    )
    link = linked(transport)
    link.logits = 4
    many = [
        (Command.INFER, payload)
        for n in range(40)
        for payload in protocol.infer_payloads(n, bytes(range(1, 9)) * 2)
    ]
    assert text[Error.NO_CREDIT] in refused(link, *many)


def status_of(device: Device) -> dict[str, int]:
    return registers.fields("status", device.read_register("status"))


def test_fixed_weights_are_there_from_the_start():
    """Nothing is uploaded; the board checks its memories; another reset changes nothing."""
    network = tiny()
    crc = image_crc(memory_image(network, network.parameters(FOLDINGS)))
    transport = fixed_board(network)
    data = images(5)
    with opened(transport) as device:
        assert device.info.fixed_weights
        assert device.info.zero_runs
        assert (status_of(device)["weights_valid"], device.read_register("memory_crc")) == (1, crc)
        sent: list[int] = []
        send = device._link.send
        device._link.send = lambda command, *rest: (sent.append(command), send(command, *rest))[1]
        device.load(network)
        assert set(sent) == {Command.READ, Command.MEM_CRC}
        assert device.read_register("memory_crc") == crc
        assert device.run(data).tolist() == network.run(data).tolist()
        device.reset()
        assert (status_of(device)["weights_valid"], device.read_register("memory_crc")) == (1, crc)
        assert device.run(data).tolist() == network.run(data).tolist()
        transport.power_cycle()
        with pytest.raises(DeviceError, match="lost this session"):
            device.run(data)
        assert device.run(data).tolist() == network.run(data).tolist()


def test_samples_need_no_host_that_knows_the_weights():
    """The first frame of a session may be a sample: weights are valid when the board wakes up."""
    network = tiny()
    link = linked(fixed_board(network))
    link.logits = 4
    data = images(1)
    for payload in protocol.infer_payloads(0, network.encode(data)[0].tobytes()):
        link.send(Command.INFER, payload)
    link.wait(lambda: link.received == 1, "a result")
    ((crc, logits),) = link.results
    assert list(logits) == network.run(data)[0].tolist()
    assert crc == image_crc(memory_image(network, network.parameters(FOLDINGS)))


def test_another_network_is_refused_where_weights_are_fixed():
    network = tiny()
    with opened(fixed_board(network)) as device:
        for _ in range(2):
            with pytest.raises(DeviceError, match="holds the weights of another network") as caught:
                device.load(tiny(seed=2))
            assert "build it with this network" in str(caught.value)
            assert "\n" not in str(caught.value)
        with pytest.raises(DeviceError, match="no network is loaded"):
            device.run(images(1))
        device.load(network)
        assert device.run(images(2)).tolist() == network.run(images(2)).tolist()


def test_fixed_weights_cannot_be_written():
    network = tiny()
    image = memory_image(network, network.parameters(FOLDINGS))
    transport = fixed_board(network)
    link = linked(transport)
    column, words = image[0]
    link.send(Command.MEM_WRITE, protocol.words_payload(column.address, *words.tolist()))
    with pytest.raises(DeviceError, match="the weights are fixed in the bitstream"):
        link.flush()
    with opened(transport) as device:
        assert (status_of(device)["weights_valid"], status_of(device)["error"]) == (1, 0)
        device.load(network)
        assert device.run(images(2)).tolist() == network.run(images(2)).tolist()


def test_a_check_that_breaks_off_counts_until_the_reset():
    """The CRC is that of what was read; RESET brings back that of the bitstream."""
    network = tiny()
    image = memory_image(network, network.parameters(FOLDINGS))
    column, words = image[0]
    with opened(fixed_board(network)) as device:
        first = protocol.words_payload(column.address | protocol.MEM_FIRST, len(words))
        device._link.send(Command.MEM_CRC, first)
        device._link.flush()
        assert not status_of(device)["weights_valid"]
        assert device.read_register("memory_crc") == image_crc(image[:1])
        device.load(network)  # checks all, whatever was there
        assert status_of(device)["weights_valid"]
        device._link.send(Command.MEM_CRC, first)
        device._link.flush()
        device.reset()
        assert status_of(device)["weights_valid"]
        assert device.read_register("memory_crc") == image_crc(image)


def test_a_loadable_board_says_so():
    with opened(board(tiny())) as device:
        assert not device.info.fixed_weights


def speak(transport: PysimTransport, data: bytes, cycles: int = 900) -> list[DeviceFrame]:
    """Put bytes on the line; return the frames that come back, which must be sound."""
    transport._queue.extend(data)
    end = transport.cycle + cycles
    heard = b""
    while transport.cycle < end:
        heard += transport.read(end / CLOCK_HZ)
    return [DeviceFrame.unpack(frame) for frame in heard.split(b"\0")[:-1]]


def test_frames_on_the_wire():
    transport = board(tiny())
    nonce = 0xDEADBEEF
    identify = HostFrame(Command.IDENTIFY, 0, 0, nonce).pack()
    address = registers.BY_NAME["clock_hz"].address

    def read(seq: int, session: int = nonce) -> bytes:
        payload = protocol.words_payload(address | 1 << 8)
        return HostFrame(Command.READ, seq, 0, session, payload).pack()

    # No session yet: says so, does nothing.
    (frame,) = speak(transport, read(1))
    assert frame.status & Status.NO_SESSION
    assert frame.reply == Reply.STATUS
    (frame,) = speak(transport, identify)
    assert (frame.reply, frame.seq, frame.next_seq, frame.nonce) == (Reply.DATA, 0, 1, nonce)
    assert len(frame.words()) == len(registers.IDENTITY)
    assert not frame.status & Status.NO_SESSION
    # Empty frames are none; two frames back to back are both executed, in order.
    frames = speak(transport, b"\0\0\0" + read(1) + b"\0" + read(2))
    assert [(f.reply, f.seq, f.next_seq) for f in frames] == [
        (Reply.DATA, 1, 2),
        (Reply.DATA, 2, 3),
    ]
    assert [f.words() for f in frames] == [(CLOCK_HZ,)] * 2
    # The same session again, an old frame, an early one, another session's: no effect.
    (frame,) = speak(transport, identify)
    assert (frame.seq, frame.next_seq) == (0, 3)
    (frame,) = speak(transport, read(2))
    assert (frame.reply, frame.next_seq, frame.status & Status.EARLY) == (Reply.STATUS, 3, 0)
    (frame,) = speak(transport, read(5))
    assert (frame.reply, frame.next_seq) == (Reply.STATUS, 3)
    assert frame.status & Status.EARLY
    (frame,) = speak(transport, read(3, session=nonce ^ 1))
    assert (frame.reply, frame.next_seq, frame.nonce) == (Reply.STATUS, 3, nonce)
    assert not frame.status & Status.EARLY
    # Every flipped bit and every lost byte of a frame is noticed.
    good = read(3)
    for place in range(len(good) - 1):
        for bit in (place % 8, (place + 3) % 8):
            bad = bytearray(good)
            bad[place] ^= 1 << bit
            assert speak(transport, bytes(bad) + b"\0", 230) == []
        assert speak(transport, good[:place] + good[place + 1 :], 230) == []
    (frame,) = speak(transport, good)
    assert (frame.reply, frame.seq, frame.words()) == (Reply.DATA, 3, (CLOCK_HZ,))
    # Too long, too short, nothing but a code byte.
    sealed = protocol.cobs_encode(b"\1" * 255) + b"\0"
    short = protocol.seal(bytes((Command.IDENTIFY, 0, 0, 1, 2, 3)))
    assert speak(transport, sealed + short + b"\1\0", 3500) == []
    (frame,) = speak(transport, read(4))
    assert frame.next_seq == 5


def test_too_many_requests_at_once_are_made_up_for():
    transport = board(tiny())
    link = linked(transport)
    request = protocol.words_payload(0 | 60 << 8)  # long answers
    for _ in range(5):
        link.send(Command.READ, request)
    link.flush()
    assert link.statistics.frames_repeated > 0
    first = registers.BY_NAME["link_faults"].address
    (word,) = link.request(Command.READ, protocol.words_payload(first | 1 << 8))
    assert registers.fields("link_faults", word)["overrun"] > 0


def test_the_line_rate_comes_back_unless_confirmed():
    transport = board(tiny())
    link = linked(transport)
    assert link.set_rate(1, CLOCK_HZ // 2)
    status = registers.BY_NAME["status"].address | 1 << 8
    (word,) = link.request(Command.READ, protocol.words_payload(status))
    assert registers.fields("status", word)["period"] == 1
    # A rate at which only the way to the board works: it returns, after 128 ms, to the last good
    # one (test_link_command.py has the other cases).
    transport.down = lambda frame: () if transport.baud == CLOCK_HZ // 3 else (frame,)
    assert not link.set_rate(2, CLOCK_HZ // 3)
    (word,) = link.request(Command.READ, protocol.words_payload(status))
    assert registers.fields("status", word)["period"] == 1
    link.close()
    transport.set_baud(CLOCK_HZ)
    link.baud = CLOCK_HZ
    link.identify()


def test_lights():
    millisecond = 4  # cycles
    transport = board(tiny(), clock_hz=1000 * millisecond, default_baud=1000 * millisecond)
    dut, beats, states = transport.accelerator, [], []

    async def watch(ctx) -> None:
        async for _, _, beat, error, active in ctx.tick().sample(
            dut.heartbeat, dut.link_error, dut.link_active
        ):
            beats.append(beat)
            states.append((error, active))

    transport._sim.add_process(watch)
    identify = HostFrame(Command.IDENTIFY, 0, 0, 1).pack()
    speak(transport, identify, 1000)
    assert (0, 1) in states
    assert not any(error for error, _ in states)
    speak(transport, b"rubbish\0", 300)
    assert states[-1][0] == 1
    transport.wait(1200 * millisecond)
    assert states[-1] == (0, 0)
    lit = sum(error for error, _ in states)
    assert 100 < lit / millisecond < 300  # a light that eyes can see
    edges = [k for k in range(1, len(beats)) if beats[k] != beats[k - 1]]
    assert {b - a for a, b in itertools.pairwise(edges)} == {512 * millisecond}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clock_hz": 0.5}, "clock_hz must be in"),
        ({"clock_hz": 1e6, "default_baud": 700_000}, "makes no 700000 baud"),
        ({"clock_hz": 1e6, "board_id": -1}, "board_id must be in"),
        ({"clock_hz": 1e6, "sample_slots": 3}, "slots must be a power of two"),
        ({"clock_hz": 1e6, "results": 1}, "results must be a power of two"),
        ({"clock_hz": 1e6, "frames": 1}, "frames must be a power of two"),
        ({"clock_hz": 1e6, "image": []}, "the image has no layer 0, weight column 0"),
    ],
)
def test_impossible_parameters(options: dict, message: str):
    options.setdefault("default_baud", 100_000)
    with pytest.raises(ValueError, match=message):
        Accelerator(tiny().parameters(FOLDINGS), **options)
