"""The driver against a model of a board, on a line that loses, flips, repeats and cuts.

The model is written from docs/link.md, in another style than the gates, and keeps a log of what it
executed: whatever the line did, every sample was run once, in order, with the right words.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from spikeloom.device.device import Device
from spikeloom.device.link import Link
from spikeloom.errors import (
    AccumulatorOverflowError,
    DeviceError,
    InputError,
    LinkTimeoutError,
)
from spikeloom.hardware import protocol, registers
from spikeloom.hardware.memory_image import columns
from spikeloom.hardware.parameters import GATEWARE_VERSION, Folding, NetworkParameters
from spikeloom.hardware.protocol import (
    Command,
    DeviceFrame,
    Error,
    FrameError,
    HostFrame,
    Reply,
    Status,
)
from spikeloom.network import Dense, Network, Readout
from spikeloom_sim.line_faults import Fault, faulty_line

CLOCK_HZ = 10_000_000
SLOTS, RESULTS = 2, 8
FOLDINGS = (Folding(lanes=4, scan=4, fire_lanes=2), Folding(lanes=2, scan=2))


def network(seed: int = 1, inputs: int = 300, outputs: int = 5, wide: int = 20) -> Network:
    generator = np.random.default_rng(seed)
    return Network(
        (
            Dense(
                "hidden",
                weight=generator.integers(-31, 32, (8, inputs)),
                bias=generator.integers(-50, 50, 8),
                input_bits=4,
                weight_bits=6,
                accumulator_bits=wide,
                threshold=generator.integers(50, 300, 8),
                output_bits=4,
                output_scale=np.ones(8),
            ),
            Readout(
                "readout",
                weight=generator.integers(-31, 32, (outputs, 8)),
                bias=generator.integers(-50, 50, outputs),
                input_bits=4,
                weight_bits=6,
                accumulator_bits=16,
                logit_scale=1.0,
            ),
        ),
        input_shape=(inputs,),
        input_bits=4,
    )


def images(count: int, inputs: int = 300, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 256, (count, inputs), dtype=np.uint8)
    data[generator.random(data.shape) < 0.6] = 0
    return data


class ModelBoard:
    """A board and its line, in virtual time. ``up`` and ``down`` are the faults of the line."""

    max_baud = 1_000_000

    def __init__(self, net: Network) -> None:
        self.net = net
        self.parameters: NetworkParameters = net.parameters(FOLDINGS)
        self.up: Fault = lambda frame: (frame,)
        self.down: Fault = lambda frame: (frame,)
        self.baud = self.board_baud = self.default_baud = 115_200
        self.time = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = 0
        self.lines = {"up": 0.0, "down": 0.0}
        self.arrived = bytearray()
        self.stream = bytearray()
        self.memory: dict[int, int] = {}
        self.executed: list[bytes] = []
        self.commands: list[int] = []
        self.silent = False
        self.compute_time = 1e-3
        self.crc_fault = 0
        self.power_up()

    def power_up(self) -> None:
        self.session = False
        self.nonce = 0
        self.weights_valid = False
        self.error = Error.OK
        self.crc = 0
        self.trial = self.heard = 0
        self.start_session()

    def start_session(self) -> None:
        self.next_seq = 1
        self.epoch = getattr(self, "epoch", 0) + 1
        self.acked = self.number = self.taken = self.fragment = 0
        self.results: dict[int, tuple[int, list[int]]] = {}
        self.sample = bytearray()

    # the line

    def at(self, when: float, action: Callable[[], None]) -> None:
        self.order += 1
        heapq.heappush(self.events, (when, self.order, action))

    def carry(self, line: str, data: bytes, baud: int, action: Callable[[bytes], None]) -> None:
        start = max(self.time, self.lines[line])
        self.lines[line] = start + 10 * len(data) / baud
        self.at(self.lines[line], lambda: action(data))

    def write(self, data: bytes) -> None:
        baud = self.baud
        for frame in data.split(b"\0")[:-1]:
            for piece in self.up(frame + b"\0"):
                self.carry("up", piece, baud, lambda d: self.hear(d, baud))

    def hear(self, data: bytes, baud: int) -> None:
        self.stream += data if baud == self.board_baud else bytes(b ^ 0x55 for b in data)
        *frames, rest = self.stream.split(b"\0")
        self.stream = bytearray(rest)
        for coded in frames:
            with contextlib.suppress(FrameError):
                self.execute(HostFrame.unpack(bytes(coded)))

    def say(self, reply: int, seq: int = 0, payload: bytes = b"", early: bool = False) -> None:
        if self.silent:
            return
        status = int(self.error) | Status.EARLY * early | Status.WEIGHTS_VALID * self.weights_valid
        status |= 0 if self.session else Status.NO_SESSION
        frame = DeviceFrame(
            reply, seq & 255, self.next_seq & 255, self.taken & 255, status, self.nonce, payload
        )
        baud = self.board_baud
        for piece in self.down(frame.pack()):
            self.carry("down", piece, baud, lambda d: self.deliver(d, baud))

    def deliver(self, data: bytes, baud: int) -> None:
        self.arrived += data if baud == self.baud else bytes(b ^ 0x55 for b in data)

    def read(self, deadline: float) -> bytes:
        while not self.arrived and self.events and self.events[0][0] <= deadline:
            when, _, action = heapq.heappop(self.events)
            self.time = max(self.time, when)
            action()
        if not self.arrived:
            self.time = max(self.time, deadline)
        data = bytes(self.arrived)
        self.arrived.clear()
        return data

    def now(self) -> float:
        return self.time

    def set_baud(self, baud: int) -> None:
        self.time = max(self.time, self.lines["up"])
        self.baud = baud

    def close(self) -> None:
        pass

    # the board

    def execute(self, frame: HostFrame) -> None:
        if frame.command == Command.IDENTIFY:
            self.confirm()
            if not self.session or frame.nonce != self.nonce:
                self.session, self.nonce, self.error = True, frame.nonce, Error.OK
                self.start_session()
            words = [self.register(r.address) for r in registers.IDENTITY]
            self.say(Reply.DATA, frame.seq, protocol.words_payload(*words))
            return
        if not self.session or frame.nonce != self.nonce:
            self.say(Reply.STATUS)
            return
        if frame.seq != self.next_seq & 255:
            self.say(Reply.STATUS, early=(frame.seq - self.next_seq) & 255 < 128)
            return
        self.confirm()
        self.next_seq += 1
        self.acked += (frame.acked - self.acked) & 255
        for n in [n for n in self.results if n < self.acked]:
            del self.results[n]
        if self.error and frame.command not in (Command.READ, Command.POLL, Command.RESET):
            self.say(Reply.STATUS)
            return
        self.commands.append(frame.command)
        error = getattr(self, f"do_{Command(frame.command).name.lower()}")(frame)
        if error:
            self.error = error
        if error is not None:
            self.say(Reply.STATUS)

    def confirm(self) -> None:
        self.heard += 1
        if self.heard == 2:
            self.trial = 0

    def register(self, address: int) -> int:
        structure = self.parameters.to_words()
        names = self.parameters.counter_names
        values = {
            "protocol": registers.pack("protocol", version=1, magic=registers.MAGIC),
            "build_id_low": self.parameters.build_id & 0xFFFFFFFF,
            "build_id_high": self.parameters.build_id >> 32,
            "map_hash": registers.map_hash(),
            "clock_hz": CLOCK_HZ,
            "board": registers.pack("board", id=3, capabilities=1),
            "buffers": registers.pack(
                "buffers", results=RESULTS, samples=SLOTS, frames=2, max_frame=254
            ),
            "counts": registers.pack("counts", structure=len(structure), counters=len(names)),
            "memory_crc": self.crc ^ self.crc_fault,
            "status": registers.pack("status", weights_valid=int(self.weights_valid)),
        }
        table = {registers.BY_NAME[name].address: value for name, value in values.items()}
        table |= {registers.BY_NAME["structure"].address + k: w for k, w in enumerate(structure)}
        return table.get(address, 0)

    def do_read(self, frame: HostFrame) -> None:
        (word,) = np.frombuffer(frame.payload, "<u4")
        first, count = int(word) & 255, int(word) >> 8
        words = [self.register(first + k) for k in range(count)]
        self.say(Reply.DATA, frame.seq, protocol.words_payload(*words))

    def do_write(self, frame: HostFrame) -> Error:
        return Error.OK

    def do_poll(self, frame: HostFrame) -> Error:
        if frame.payload[0] & 1:
            for n in sorted(self.results):
                self.send_result(n)
        return Error.OK

    def do_mem_write(self, frame: HostFrame) -> Error:
        if self.number != self.acked:
            return Error.NOT_COLLECTED
        address, *words = np.frombuffer(frame.payload, "<u4").tolist()
        self.weights_valid = False
        for k, word in enumerate(words):
            self.memory[address + k] = word
        return Error.OK

    def do_mem_crc(self, frame: HostFrame) -> None:
        address, rows = np.frombuffer(frame.payload, "<u4").tolist()
        base = address & ((1 << 30) - 1)
        words = np.array([self.memory.get(base + k, 0) for k in range(rows)], "<u4")
        self.crc = zlib.crc32(words.tobytes(), 0 if address & protocol.MEM_FIRST else self.crc)
        self.weights_valid = bool(address & protocol.MEM_LAST)
        self.say(Reply.DATA, frame.seq, protocol.words_payload(self.crc))

    def do_infer(self, frame: HostFrame) -> Error:
        sample, flags, fragment, _ = frame.payload[:4]
        if not self.weights_valid:
            return Error.NOT_READY
        if sample != self.number & 255 or fragment != self.fragment:
            return Error.BAD_SAMPLE
        if fragment == 0 and (
            self.number - self.taken >= SLOTS or self.number - self.acked >= RESULTS
        ):
            return Error.NO_CREDIT
        data = frame.payload[4:]
        if flags & protocol.InferFlag.ZERO_RUNS:
            k = 0
            while k < len(data):
                self.sample += bytes(data[k + 1]) if data[k] == 0 else data[k : k + 1]
                k += 2 if data[k] == 0 else 1
        else:
            self.sample += data
        self.fragment += 1
        if flags & protocol.InferFlag.LAST:
            if len(self.sample) != self.net.inputs:
                return Error.BAD_SAMPLE
            words, self.sample, self.fragment = bytes(self.sample), bytearray(), 0
            self.executed.append(words)
            number, self.number = self.number, self.number + 1
            epoch = self.epoch
            self.at(self.time + self.compute_time, lambda: self.compute(number, words, epoch))
        return Error.OK

    def compute(self, number: int, words: bytes, epoch: int) -> None:
        if epoch != self.epoch:
            return
        from spikeloom import golden

        self.taken += 1
        array = np.frombuffer(words, np.uint8)[None].copy()
        self.results[number] = (self.crc, golden.run_words(self.net, array)[0].tolist())
        self.send_result(number)

    def send_result(self, number: int) -> None:
        crc, logits = self.results[number]
        for first in range(0, len(logits), protocol.RESULT_LOGITS):
            part = logits[first : first + protocol.RESULT_LOGITS]
            words = [crc, first, *(v & 0xFFFFFFFF for v in part)]
            self.say(Reply.RESULT, number, protocol.words_payload(*words))

    def do_reset(self, frame: HostFrame) -> None:
        self.say(Reply.DONE, frame.seq)
        self.session = self.weights_valid = False

    def do_close(self, frame: HostFrame) -> None:
        self.say(Reply.DONE, frame.seq)
        self.session, self.trial = False, 0
        self.at(self.lines["down"], lambda: setattr(self, "board_baud", self.default_baud))

    def do_set_baud(self, frame: HostFrame) -> None:
        self.say(Reply.DONE, frame.seq)
        (period,) = np.frombuffer(frame.payload, "<u4").tolist()
        old, new = self.board_baud, round(CLOCK_HZ / (period + 1))
        self.order += 1
        mark = self.order

        def switch() -> None:
            self.board_baud, self.trial, self.heard = new, mark, 0
            self.at(self.time + 0.128, revert)

        def revert() -> None:
            if self.trial == mark:
                self.board_baud, self.trial = old, 0

        self.at(self.lines["down"], switch)


def opened(board: ModelBoard, **options) -> Device:
    options.setdefault("timeout", 5.0)
    nonces = iter(range(0x1000, 0x2000))
    link = Link(board, timeout=options["timeout"], nonce=lambda: next(nonces))
    return Device(board, link=link, **options)


def slow_line(board: ModelBoard, limit: int) -> None:
    """Let nothing through from the board at more than ``limit`` baud."""
    board.deliver = lambda data, baud: (  # type: ignore[method-assign]
        board.arrived.extend(data if baud == board.baud <= limit else b"\x55" * len(data))
    )


def expected_words(net: Network, data: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in net.encode(data)]


def test_runs_on_a_good_line():
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        assert device.info.baud == 1_000_000
        assert board.board_baud == 1_000_000
        device.load(net)
        data = images(40)
        assert device.run(data).tolist() == net.run(data).tolist()
        assert board.executed == expected_words(net, data)
        statistics = device.link_statistics
        assert statistics["frames_repeated"] == statistics["frames_damaged"] == 0
        assert statistics["recoveries"] == 0
    board.read(board.time + 1)
    assert board.board_baud == board.default_baud  # left as it was found


@pytest.mark.parametrize("seed", range(12))
def test_a_bad_line_changes_nothing(seed: int):
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        board.up, board.down = faulty_line(seed, 0.15), faulty_line(seed + 1000, 0.15)
        device.load(net)
        data = images(30, seed=seed)
        logits = device.run(data)
        assert logits.tolist() == net.run(data).tolist()
        assert board.executed == expected_words(net, data)
        assert device.link_statistics["recoveries"] > 0


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("seed", range(4))
def test_each_direction_alone(direction: str, seed: int):
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        setattr(board, direction, faulty_line(seed, 0.3))
        device.load(net)
        data = images(12, seed=seed)
        assert device.run(data).tolist() == net.run(data).tolist()
        assert board.executed == expected_words(net, data)


@pytest.mark.parametrize("seed", range(6))
def test_opens_over_a_bad_line(seed: int):
    net = network()
    board = ModelBoard(net)
    board.up, board.down = faulty_line(seed, 0.1), faulty_line(seed + 50, 0.1)
    with opened(board) as device:
        device.load(net)
        data = images(3)
        assert device.run(data).tolist() == net.run(data).tolist()


def test_results_of_many_logits_come_in_parts():
    net = network(outputs=130)
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
        board.down = faulty_line(3, 0.2)
        data = images(10)
        assert device.run(data).tolist() == net.run(data).tolist()


def test_sequence_numbers_wrap():
    net = network(inputs=8)
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
        data = images(600, inputs=8)
        assert device.run(data).tolist() == net.run(data).tolist()
        assert board.executed == expected_words(net, data)


def test_several_runs_and_no_samples():
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
        for count in (3, 0, 1, 9):
            data = images(count, seed=count)
            assert device.run(data).tolist() == net.run(data).tolist()
        assert device.run(data[0]).shape == (1, 5)  # one sample, without its first axis


def test_a_reset_board_is_noticed():
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
        board.power_up()
        with pytest.raises(DeviceError, match="lost this session"):
            device.run(images(4))
        with pytest.raises(DeviceError, match="lost its weights: load the network again"):
            device.run(images(4))
        with pytest.raises(DeviceError, match="call load"):
            device.run(images(4))
        device.load(net)
        data = images(4)
        assert device.run(data).tolist() == net.run(data).tolist()


def test_a_reset_in_the_middle_of_a_run_is_noticed():
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
        board.at(board.time + 0.02, board.power_up)
        with pytest.raises(DeviceError, match="lost this session"):
            device.run(images(60))


def test_a_board_that_stops_is_a_timeout_that_says_what_was_awaited():
    net = network()
    board = ModelBoard(net)
    device = opened(board)
    device.load(net)
    board.at(board.time + 0.02, lambda: setattr(board, "silent", True))
    start = board.time
    with pytest.raises(LinkTimeoutError, match=r"waited .* s for result \d+ of 60: .* frame \d+"):
        device.run(images(60))
    assert board.time - start < 12
    board.silent = False
    data = images(2)
    assert device.run(data).tolist() == net.run(data).tolist()  # a new session, weights kept


@pytest.mark.parametrize(
    ("stuck_at", "works"),
    [("core", 0), ("core", 7), ("result", 0), ("result", 7), ("part", 2)],
)
def test_a_core_that_is_stuck_is_a_timeout_though_the_link_lives(stuck_at: str, works: int):
    net = network(outputs=130)  # results of three parts
    board = ModelBoard(net)
    device = opened(board, timeout=1.5)
    device.load(net)
    compute, send_result = board.compute, board.send_result

    def stuck(number: int, words: bytes, epoch: int) -> None:
        if number < works:
            compute(number, words, epoch)
        elif stuck_at == "result":  # it takes samples and says nothing
            board.taken += 1

    def without_the_last_part(number: int) -> None:
        down, parts = board.down, []
        board.down = lambda frame: parts.append(frame) or ()
        send_result(number)
        board.down = down
        for part in parts if number < works else parts[:-1]:
            board.carry("down", part, board.board_baud, board.arrived.extend)

    if stuck_at == "part":
        board.send_result = without_the_last_part  # type: ignore[method-assign]
    else:
        board.compute = stuck  # type: ignore[method-assign]
    start = board.time

    def forever() -> None:
        raise AssertionError(f"still waiting after {board.time - start:.3g} s")

    board.at(start + 10, forever)
    with pytest.raises(LinkTimeoutError, match=rf"waited .* s for result {works} of 30: "):
        device.run(images(30))
    assert 1.5 <= board.time - start < 2.5
    assert device.link_statistics["polls"] > 5  # it was asked, and did answer
    board.compute, board.send_result = compute, send_result  # type: ignore[method-assign]
    data = images(2)
    assert device.run(data).tolist() == net.run(data).tolist()


def test_a_result_without_a_sample_is_refused():
    net = network()
    board = ModelBoard(net)
    device = opened(board)
    device.load(net)
    right = board.send_result

    def twice(number: int) -> None:
        down, frames = board.down, []
        board.down = lambda frame: frames.append(frame) or ()
        board.results[number + 1] = board.results[number]
        right(number)
        right(number + 1)
        board.down = down
        board.carry("down", b"".join(frames), board.board_baud, board.arrived.extend)

    board.send_result = twice  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="result of a sample that it never got"):
        device.run(images(1))


def test_lost_results_only():
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
        generator = random.Random(5)
        board.down = lambda frame: () if generator.random() < 0.5 else (frame,)
        data = images(20)
        assert device.run(data).tolist() == net.run(data).tolist()
        assert board.executed == expected_words(net, data)


def test_wrong_memories_are_noticed():
    net = network()
    board = ModelBoard(net)
    board.crc_fault = 1
    with opened(board) as device:
        with pytest.raises(DeviceError, match="holds other weights than were sent"):
            device.load(net)
        with pytest.raises(DeviceError, match="call load"):
            device.run(images(1))


def test_results_of_other_weights_are_refused():
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
        board.crc ^= 5
        with pytest.raises(DeviceError, match="computed with other weights"):
            device.run(images(3))


def test_reset_forgets_the_weights():
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
        device.reset()
        assert not board.weights_valid
        with pytest.raises(DeviceError, match="call load"):
            device.run(images(1))
        device.load(net)
        assert device.run(images(1)).tolist() == net.run(images(1)).tolist()


def test_the_rate_falls_back_when_the_line_cannot_do_it():
    net = network()
    board = ModelBoard(net)
    slow_line(board, 500_000)
    with opened(board) as device:
        assert device.info.baud == board.board_baud == 500_000
        device.load(net)


def test_a_rate_that_was_asked_for_and_does_not_work_is_an_error():
    net = network()
    board = ModelBoard(net)
    slow_line(board, 500_000)
    with opened(board) as device:
        assert device.info.baud == 500_000
        with pytest.raises(DeviceError, match=r"at 1000000 baud, the line stays at 500000 baud"):
            device.set_baud(1_000_000)
        assert device.info.baud == board.board_baud == board.baud == 500_000
        device.set_baud(200_000)
        assert device.info.baud == board.board_baud == 200_000
        device.load(net)
        assert device.run(images(2)).tolist() == net.run(images(2)).tolist()
    board = ModelBoard(net)
    slow_line(board, 500_000)
    with pytest.raises(DeviceError, match=r"at 1000000 baud, the line stays at 115200 baud"):
        opened(board, baud=1_000_000)


def test_lost_answers_of_set_baud():
    net = network()
    for seed in range(8):
        board = ModelBoard(net)
        board.up, board.down = faulty_line(seed, 0.4), faulty_line(seed + 9, 0.4)
        try:
            device = opened(board)
        except LinkTimeoutError:
            continue  # gave up while opening: nothing was computed
        board.up = board.down = lambda frame: (frame,)
        with device:
            assert device.info.baud == board.board_baud == board.baud
            device.load(net)


def test_a_board_left_at_a_fast_rate_is_found():
    net = network()
    board = ModelBoard(net)
    board.board_baud = 1_000_000
    with opened(board) as device:
        assert device.info.baud == 1_000_000


def test_an_impossible_rate_is_refused():
    board = ModelBoard(network())
    with pytest.raises(DeviceError, match=r"700000 baud is not possible .* use one of 1000000"):
        opened(board, baud=700_000)


def test_nobody_answers():
    board = ModelBoard(network())
    board.silent = True
    with pytest.raises(LinkTimeoutError, match="no board answers at .*: is the board on"):
        opened(board)


def test_garbage_answers():
    board = ModelBoard(network())
    board.down = lambda frame: (b"hello, this is a modem\r\n\0",)
    with pytest.raises(LinkTimeoutError, match="answers garbage at .* no Spikeloom bitstream"):
        opened(board)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("protocol", registers.pack("protocol", version=9, magic=registers.MAGIC), "version 9"),
        ("map_hash", 1, "another register map"),
        ("build_id_low", 1, "has build id"),
        ("structure", (GATEWARE_VERSION + 1) << 16 | 2, f"gateware version {GATEWARE_VERSION + 1}"),
        ("counts", {"counters": 3}, "has 3 counters"),
    ],
)
def test_another_board_is_refused(name: str, value: int | dict[str, int], message: str):
    board = ModelBoard(network())
    if isinstance(value, dict):
        structure = len(board.parameters.to_words())
        value = registers.pack(name, structure=structure, **value)
    right = board.register
    address = registers.BY_NAME[name].address
    board.register = lambda a: value if a == address else right(a)  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match=message) as caught:
        opened(board)
    assert "\n" not in str(caught.value)


def test_another_network_is_refused():
    board = ModelBoard(network())
    with opened(board) as device:
        with pytest.raises(DeviceError) as caught:
            device.load(network(outputs=6))
        assert "the board runs 300-8-5 T=4/4 W=6/6, the network is 300-8-6 T=4/4 W=6/6" in str(
            caught.value
        )
        assert not board.memory


def test_weights_that_break_the_bound_are_refused():
    board = ModelBoard(network(wide=14))
    with opened(board) as device:
        with pytest.raises(AccumulatorOverflowError, match="accumulator of 14 bits holds"):
            device.load(network(wide=20))
        assert not board.memory


def test_a_narrower_accumulator_fits_a_wider_board():
    board = ModelBoard(network(wide=24))
    with opened(board) as device:
        device.load(network(wide=20))
        data = images(3)
        assert device.run(data).tolist() == board.net.run(data).tolist()


def test_bad_input():
    net = network()
    with opened(ModelBoard(net)) as device:
        with pytest.raises(DeviceError, match="call load"):
            device.run(images(1))
        device.load(net)
        with pytest.raises(InputError):
            device.run(images(1).astype(np.float32))
        with pytest.raises(InputError):
            device.run(images(1, inputs=7))
        with pytest.raises(DeviceError, match="'status' cannot be written"):
            device.write_register("status", 1)
        with pytest.raises(KeyError):
            device.read_register("nothing")


def test_progress_bars_do_not_change_results(capsys):
    net = network()
    with opened(ModelBoard(net)) as device:
        device.load(net, progress=True)
        data = images(3)
        assert device.run(data, progress=True).tolist() == net.run(data).tolist()
    assert "samples" in capsys.readouterr().out


def test_the_model_lays_out_memories_like_the_driver():
    net = network()
    board = ModelBoard(net)
    with opened(board) as device:
        device.load(net)
    rows = sum(column.rows for column in columns(board.parameters))
    assert len(board.memory) == rows
