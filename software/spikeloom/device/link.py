"""Host side of the link: order, acknowledgement, repetition and deadlines (go-back-N).

Every frame to the board carries a sequence number; the board executes them in order, once, and says
in every frame of its own which one it expects next. What is not acknowledged in time is sent again.
All waits end at a deadline on the transport's clock. See docs/link.md.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from spikeloom.device.transport import Transport
from spikeloom.errors import DeviceError, LinkTimeoutError
from spikeloom.hardware import protocol
from spikeloom.hardware.protocol import Command, DeviceFrame, FrameError, HostFrame, Reply, Status

MARGIN = 0.05  #: seconds that a board, its USB bridge and the operating system may take to answer
WINDOW = 16  #: frames in flight
TRIES = 4  #: times that a request is made again when only its answer got lost
MAX_PENDING = 4096  #: received bytes without a frame's end: no board says that much


@dataclass
class LinkStatistics:
    """What a link has seen."""

    frames_sent: int = 0
    frames_repeated: int = 0
    frames_received: int = 0
    frames_damaged: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    polls: int = 0
    recoveries: int = 0  #: times that nothing came in time, or a frame was missed


class _Sent(NamedTuple):
    seq: int  # not modulo 256
    frame: bytes
    command: int


class Link:
    """A session with a board.

    transport: the line, at the board's present rate. timeout: seconds without progress after which
    an operation raises LinkTimeoutError; progress is a command executed (not POLL, which any board
    that hears answers), a sample taken or a result. nonce: makes session numbers (32 bits, not
    zero).
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float = 2.0,
        nonce: Callable[[], int] = lambda: secrets.randbelow((1 << 32) - 1) + 1,
    ) -> None:
        self.transport = transport
        self.timeout = timeout
        self.baud: int = getattr(transport, "baud", 115_200)
        self.statistics = LinkStatistics()
        self._make_nonce = nonce
        self._pending = bytearray()
        self._start(0)

    def _start(self, nonce: int) -> None:
        """Forget everything of the session before."""
        self.nonce = nonce
        self._identity: DeviceFrame | None = None
        self._unacked: deque[_Sent] = deque()
        self._next_seq = 1
        self._answers: dict[int, DeviceFrame] = {}
        self._repeated_for = -1  # the missing frame for which all were sent again
        self._missed = False  # a result got lost ...
        self._resend_asked = False  # ... and the board knows
        self._closing = False
        self._partial: list[int] = []
        self._progress = 0  # counts what the board has done: deadlines start again
        self._last_event = self.transport.now()  # sign of life: silence starts again
        self.taken = 0  #: samples that have left the board's sample buffer
        self.results: list[tuple[int, list[int]]] = []  #: (CRC of weights, logits), in order
        self.received = 0  #: results received
        self.logits = 0  #: logits of a result; set by the device
        self.broken = False  #: the board refused something: it does nothing until a new session

    # Sessions

    def identify(self, *, tries: int = 3) -> tuple[int, ...]:
        """Begin a session; return the identity registers. Drops samples; weights stay.

        Raises LinkTimeoutError when nothing, or only garbage, came back.
        """
        self._pending.clear()
        self._start(self._make_nonce())
        damaged, heard = self.statistics.frames_damaged, self.statistics.bytes_received
        frame = HostFrame(Command.IDENTIFY, 0, 0, self.nonce).pack()
        for _ in range(tries):
            self._write(b"\0" + frame)  # the zero ends whatever the board has half received
            deadline = self.transport.now() + self._patience(4 * len(frame))
            while self._identity is None and self.transport.now() < deadline:
                self._read(deadline)
            if self._identity is not None:
                return self._identity.words()
        heard = self.statistics.bytes_received - heard
        if heard:
            damaged = self.statistics.frames_damaged - damaged
            raise LinkTimeoutError(
                f"the board answers garbage at {self.baud} baud ({heard} bytes, {damaged} damaged"
                " frames, no identity): it runs no Spikeloom bitstream, or speaks at another rate"
            )
        raise LinkTimeoutError(f"no board answers at {self.baud} baud")

    def close(self) -> None:
        """End the session; the board returns to its default line rate."""
        self._finish(Command.CLOSE)

    def reset(self) -> None:
        """Make the board forget samples, weights and session."""
        self._finish(Command.RESET)

    def _finish(self, command: Command) -> None:
        # Whether the answer or "no session" comes back: the session has ended.
        self._closing = True
        seq = self.send(command)
        self._wait(lambda: seq in self._answers or not self._unacked, f"the end of {command.name}")
        self._closing = False
        self.broken = True

    def set_rate(self, period: int, baud: int) -> bool:
        """Change the line rate to ``period + 1`` board cycles a bit; False if it does not work.

        The board goes back by itself to the rate before unless it hears a sound frame in time.
        """
        old = self.baud
        for _ in range(TRIES):
            seq = self.send(Command.SET_BAUD, protocol.words_payload(period))
            self._wait(lambda seq=seq: self._is_acked(seq), f"the answer to SET_BAUD {baud}")
            if seq in self._answers:
                break
        else:
            return False
        self._set_baud(baud)
        # The board keeps the rate at the second new frame that it hears. The second is sent when
        # the answer to the first has come: so both directions work.
        seq, heard = self.send(Command.POLL, protocol.words_payload(0)), 0
        for rate, patience in ((baud, 0.1), (old, 0.3), (baud, 0.3), (old, self.timeout)):
            if rate != self.baud:
                self._read(self.transport.now() + 0.15)  # by then the board is back
                self._set_baud(rate)
                self._repeat()
            try:
                while heard < 2:
                    self._wait(
                        lambda seq=seq: self._is_acked(seq),
                        f"a confirmation at {rate} baud",
                        patience + self._patience(64),
                    )
                    heard += 1
                    if heard < 2:
                        seq = self.send(Command.POLL, protocol.words_payload(0))
            except LinkTimeoutError:
                continue
            return rate == baud
        raise LinkTimeoutError(f"lost the board while changing from {old} to {baud} baud")

    # Frames

    def send(self, command: Command, payload: bytes = b"") -> int:
        """Send a frame that will be executed once, in order; return its sequence number.

        Waits while the window is full. Raises DeviceError or LinkTimeoutError.
        """
        self._check()
        if len(self._unacked) >= WINDOW:
            self._wait(
                lambda: len(self._unacked) < WINDOW, f"room in the window for {command.name}"
            )
        seq = self._next_seq & 255
        frame = HostFrame(command, seq, self.received & 255, self.nonce, payload).pack()
        if not self._unacked:
            self._last_event = self.transport.now()
        self._unacked.append(_Sent(self._next_seq, frame, command))
        self._next_seq += 1
        self._answers.pop(self._next_seq - 256, None)
        self._write(frame)
        return self._next_seq - 1

    def request(self, command: Command, payload: bytes = b"") -> tuple[int, ...]:
        """Send a frame and return the words of its answer; asks again if the answer got lost."""
        for _ in range(TRIES):
            seq = self.send(command, payload)
            self._wait(lambda seq=seq: self._is_acked(seq), f"the answer to {command.name}")
            if seq in self._answers:
                return self._answers.pop(seq).words()
        raise LinkTimeoutError(f"{TRIES} answers to {command.name} got lost")

    def flush(self, awaited: str = "acknowledgement") -> None:
        """Wait until every frame has been executed."""
        self._wait(lambda: not self._unacked, awaited)

    def wait(self, ready: Callable[[], bool], awaited: str) -> None:
        """Receive until ``ready()``; polls the board when it is silent for too long.

        Raises LinkTimeoutError after ``timeout`` seconds without progress.
        """
        self._wait(ready, awaited)

    def poll(self, *, resend: bool = False) -> None:
        """Ask for a sign of life, and for every unacknowledged result again."""
        self.statistics.polls += 1
        flags = protocol.POLL_RESEND if resend else 0
        self.send(Command.POLL, protocol.words_payload(flags))

    # Inside

    def _check(self) -> None:
        if self.broken:
            raise DeviceError("this session with the board has ended: begin a new one")

    def _is_acked(self, seq: int) -> bool:
        return not self._unacked or seq < self._unacked[0].seq

    def _patience(self, size: int) -> float:
        """Seconds in which ``size`` bytes and an answer have crossed the line."""
        return MARGIN + 10 * (size + 2 * (protocol.MAX_FRAME + 2)) / self.baud

    def _set_baud(self, baud: int) -> None:
        self.transport.set_baud(baud)
        self.baud = baud
        self._pending.clear()

    def _write(self, data: bytes) -> None:
        self.statistics.frames_sent += 1
        self.statistics.bytes_sent += len(data)
        self.transport.write(data)

    def _wait(self, ready: Callable[[], bool], awaited: str, timeout: float | None = None) -> None:
        limit = self.timeout if timeout is None else timeout
        progress, since = self._progress, self.transport.now()
        while not ready():
            self._check()
            in_flight = sum(len(sent.frame) for sent in self._unacked)
            silent = self._last_event + self._patience(in_flight)
            # Bytes that are still on their way are no silence.
            deadline = since + limit + 10 * in_flight / self.baud
            self._read(min(silent, deadline))
            if self._missed and not self._resend_asked and len(self._unacked) < WINDOW:
                self._resend_asked = True
                self.statistics.recoveries += 1
                self.poll(resend=True)
            now = self.transport.now()
            if self._progress != progress:
                progress, since = self._progress, now
            elif now >= deadline and not ready():
                raise LinkTimeoutError(self._complaint(awaited, now - since))
            if now >= silent and not ready():
                self._on_silence()

    def _complaint(self, awaited: str, seconds: float) -> str:
        done = self._unacked[0].seq - 1 if self._unacked else self._next_seq - 1
        return (
            f"waited {seconds:.3g} s for {awaited}: the board last executed frame {done} of"
            f" {self._next_seq - 1}, {self.received} results came"
            f" ({self.statistics.frames_damaged} damaged frames seen)"
        )

    def _on_silence(self) -> None:
        self.statistics.recoveries += 1
        self._repeated_for = -1
        self._resend_asked = False
        if self._unacked:
            self._repeat()
        else:
            self.poll(resend=True)

    def _repeat(self) -> None:
        """Go back: send every unacknowledged frame again."""
        self.statistics.frames_repeated += len(self._unacked)
        self._last_event = self.transport.now()
        if self._unacked:
            # The zero ends a frame that the line has cut; the frames follow as they were.
            self._write(b"\0" + b"".join(sent.frame for sent in self._unacked))

    def _read(self, deadline: float) -> None:
        data = self.transport.read(deadline)
        self.statistics.bytes_received += len(data)
        self._pending += data
        *frames, rest = self._pending.split(b"\0")
        self._pending = bytearray(rest if len(rest) <= MAX_PENDING else b"")
        for coded in frames:
            if not coded:
                continue
            try:
                frame = DeviceFrame.unpack(bytes(coded))
            except FrameError:
                self.statistics.frames_damaged += 1
                continue
            self.statistics.frames_received += 1
            self._on_frame(frame)

    def _advance(self) -> None:
        self._progress += 1
        self._last_event = self.transport.now()

    def _on_frame(self, frame: DeviceFrame) -> None:
        if self._identity is None:  # anything else is left over from the session before
            if (frame.nonce, frame.reply, frame.seq) == (self.nonce, Reply.DATA, 0):
                self._identity = frame
            return
        if frame.nonce != self.nonce or frame.status & Status.NO_SESSION:
            self.broken = True
            if self._closing:
                self._unacked.clear()
                return
            raise DeviceError(
                "the board has lost this session: it was reset, or another program took it over;"
                " open it again and load the network"
            )
        if frame.error:
            self.broken = True
            known = protocol.ERROR_TEXT.get(frame.error)  # type: ignore[arg-type]
            raise DeviceError(f"the board refused a command: {known or f'error {frame.error}'}")
        self._on_acknowledgement(frame)
        taken = (frame.taken - self.taken) & 255
        if 0 < taken < 128:
            self.taken += taken
            self._advance()
        if frame.reply in (Reply.DATA, Reply.DONE):
            newest = self._next_seq - 1
            asked = newest - ((newest - frame.seq) & 255)
            if asked > 0:  # else it answers nothing: IDENTIFY once more
                self._answers[asked] = frame
        elif frame.reply == Reply.RESULT:
            self._on_result(frame)

    def _on_acknowledgement(self, frame: DeviceFrame) -> None:
        if not self._unacked:
            return
        base = self._unacked[0].seq
        done = (frame.next_seq - base) & 255
        if 0 < done <= len(self._unacked):
            executed = {self._unacked.popleft().command for _ in range(done)}
            self._last_event = self.transport.now()
            # A POLL is executed by any board that hears, whatever else of it is stuck.
            self._progress += executed != {Command.POLL}
        # All that is in flight behind a lost frame makes the board say so again and again.
        if frame.status & Status.EARLY and self._unacked:
            base = self._unacked[0].seq
            if self._repeated_for != base:
                self._repeated_for = base
                self.statistics.recoveries += 1
                self._repeat()

    def _on_result(self, frame: DeviceFrame) -> None:
        crc, first, *logits = frame.words()
        if first + len(logits) > self.logits:
            self.statistics.frames_damaged += 1  # none of this network
            return
        ahead = (frame.seq - self.received) & 255
        if ahead >= 128 or (ahead == 0 and first < len(self._partial)):
            return  # had it already
        if ahead or first != len(self._partial):  # one before it got lost
            self._missed = True
            return
        self._partial += [word - ((word & 1 << 31) << 1) for word in logits]
        self._missed = self._resend_asked = False
        self._advance()
        if len(self._partial) == self.logits:
            self.results.append((crc, self._partial))
            self.received += 1
            self._partial = []
