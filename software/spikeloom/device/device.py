"""A board with a network: load weights, run samples, read counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeloom.device.identity import (
    STANDARD_RATES,
    DeviceInfo,
    check_network,
    line_rates,
    parse_structure,
)
from spikeloom.device.link import Link
from spikeloom.device.transport import Transport, open_transport
from spikeloom.errors import DeviceError, LinkTimeoutError
from spikeloom.hardware import protocol, registers
from spikeloom.hardware.memory_image import Column, image_crc, memory_image
from spikeloom.hardware.protocol import Command

if TYPE_CHECKING:
    from spikeloom.network import Network

Step = Callable[[int], None]


@contextmanager
def _progress_bar(show: bool, title: str, total: int) -> Iterator[Step]:
    if not show:
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


class Device:
    """A board that runs a network; use :meth:`open`, and as a context manager.

    Every wait ends: LinkTimeoutError says what was awaited. DeviceError says what the board
    refused, or in what it is not what was expected.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        address: str = "",
        baud: int | None = None,
        timeout: float = 2.0,
        link: Link | None = None,
    ) -> None:
        """Identify the board on an open transport and take the fastest line rate.

        baud: the line rate to use, None for the fastest that works. timeout: seconds without
        progress (a command executed, a sample taken, a result) after which an operation gives up.
        """
        self.address = address
        self._link = link or Link(transport, timeout=timeout)
        self._network: Network | None = None
        self._crc: int | None = None
        self._samples = 0  # begun in this session
        self.info = self._identify(self._find(transport, baud))
        self.parameters = parse_structure(self.read_block("structure"), self.info)
        self._link.logits = self._classes
        self._raise_rate(baud)

    @classmethod
    def open(cls, address: str, *, baud: int | None = None, timeout: float = 2.0) -> Device:
        """Open the board at ``serial:///dev/ttyUSB0`` or ``sim://build/x``.

        Raises DeviceError when nothing, or something else, answers there.
        """
        transport = open_transport(address)
        try:
            return cls(transport, address=address, baud=baud, timeout=timeout)
        except BaseException:
            transport.close()
            raise

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session, so that the next program finds the board at its default rate."""
        try:
            if not self._link.broken:
                self._link.timeout = min(self._link.timeout, 0.5)
                self._link.close()
        except DeviceError:
            pass  # it is gone already
        finally:
            self._link.transport.close()

    def now(self) -> float:
        """Return the transport's time in seconds; of a simulated board, the device's own."""
        return self._link.transport.now()

    def set_baud(self, baud: int) -> None:
        """Change the line rate, up or down.

        Raises DeviceError if the board's clock cannot make it, or nothing gets through at it; then
        the rate is the one before.
        """
        self._raise_rate(baud)

    # What it is

    @property
    def _classes(self) -> int:
        return self.parameters.layers[-1].port_out.channels

    @property
    def _where(self) -> str:
        return f" at {self.address}" if self.address else ""

    def _find(self, transport: Transport, baud: int | None) -> tuple[int, ...]:
        """Identify at the present rate, else at those that a program may have left behind."""
        link = self._link
        first = link.baud
        others = [transport.max_baud, *STANDARD_RATES] if baud is None else [baud]
        complaint: LinkTimeoutError | None = None
        for rate in dict.fromkeys([first, *others]):
            if rate > transport.max_baud:
                continue
            if rate != link.baud:
                transport.set_baud(rate)
                link.baud = rate
            try:
                return link.identify()
            except LinkTimeoutError as error:
                if complaint is None or "garbage" in str(error):
                    complaint = error
        raise LinkTimeoutError(
            f"{complaint}{self._where}: is the board on, and does it hold a Spikeloom bitstream?"
        )

    def _identify(self, words: Sequence[int]) -> DeviceInfo:
        return DeviceInfo.from_words(words, address=self.address, baud=self._link.baud)

    def _raise_rate(self, baud: int | None) -> None:
        transport = self._link.transport
        limit = transport.max_baud if baud is None else min(baud, transport.max_baud)
        rates = line_rates(self.info.clock_hz, limit)
        if baud is not None and (not rates or rates[0][0] != baud):
            possible = ", ".join(
                str(rate) for rate, _ in line_rates(self.info.clock_hz, transport.max_baud)
            )
            raise DeviceError(
                f"{baud} baud is not possible with a board clock of {self.info.clock_hz} Hz:"
                f" use one of {possible}"
            )
        for rate, cycles in rates:
            if rate == self._link.baud or (baud is None and rate < self._link.baud):
                break
            if self._link.set_rate(cycles - 1, rate):
                break
            if baud is not None:
                raise DeviceError(
                    f"nothing gets through to the board{self._where} and back at {baud} baud, the"
                    f" line stays at {self._link.baud} baud: use a slower rate, or a better cable"
                )
        self.info = replace(self.info, baud=self._link.baud)

    # Registers

    def read_block(self, name: str) -> list[int]:
        """Read all words of a register block (``structure``, ``counters``) or one register."""
        register = registers.BY_NAME[name]
        count = getattr(self.info, register.block.split(".")[1]) if register.block else 1
        words: list[int] = []
        while len(words) < count:
            part = min(protocol.MAX_DEVICE_WORDS, count - len(words))
            request = protocol.words_payload(register.address + len(words) | part << 8)
            got = self._link.request(Command.READ, request)
            if len(got) != part:
                raise DeviceError(f"the board sent {len(got)} registers instead of {part}")
            words += got
        return words

    def read_register(self, name: str) -> int:
        """Read one 32-bit register by name; KeyError if there is none of that name."""
        return self.read_block(name)[0]

    def write_register(self, name: str, value: int) -> None:
        """Write one register by name; DeviceError if it cannot be written."""
        register = registers.BY_NAME[name]
        if "write" not in register.access:
            raise DeviceError(f"register {name!r} cannot be written ({register.access})")
        self._link.send(Command.WRITE, protocol.words_payload(register.address, value))
        self._link.flush(f"the write of register {name!r}")

    def counters(self) -> dict[str, int]:
        """Counters of the network core by name; they count modulo 2^32 since the last clear."""
        self._ensure_session()
        return dict(zip(self.parameters.counter_names, self.read_block("counters"), strict=True))

    def clear_counters(self) -> None:
        """Zero the counters of the network core."""
        self._ensure_session()
        self.write_register("control", registers.pack("control", clear_counters=1))

    def link_faults(self) -> dict[str, int]:
        """Frames that the board threw away, by reason; each count stops at 255."""
        self._ensure_session()
        return registers.fields("link_faults", self.read_register("link_faults"))

    @property
    def link_statistics(self) -> dict[str, int]:
        """What this side of the link has sent, received and repeated."""
        return dict(vars(self._link.statistics))

    # Sessions

    def _begin_session(self) -> None:
        self.info = self._identify(self._link.identify())
        self._link.logits = self._classes
        self._samples = 0

    def _ensure_session(self) -> None:
        """After an error, start over: samples are dropped, weights must still be there."""
        if not self._link.broken:
            return
        self._begin_session()
        if self._network is not None and self._valid_crc() != self._crc:
            self._network = None
            raise DeviceError(
                f"the board{self._where} was reset and has lost its weights: load the network again"
            )

    def _valid_crc(self) -> int | None:
        """CRC of the board's weights; None if they are not valid, or being checked."""
        status = registers.fields("status", self.read_register("status"))
        return self.read_register("memory_crc") if status["weights_valid"] else None

    def reset(self) -> None:
        """Reset the board: samples, weights and counters are gone; load a network again.

        Weights that are fixed in the bitstream stay, and with them the network.
        """
        if not self.info.fixed_weights:
            self._network = None
        if not self._link.broken:
            self._link.reset()
        self._begin_session()

    # Weights

    def load(self, network: Network, *, progress: bool = False) -> None:
        """Write a network's integers into the board and verify what it holds.

        Nothing is written where the weights are fixed in the bitstream: they must be this
        network's. Raises DeviceError when the bitstream was built for another structure, holds
        another network, or the memories do not read back right, AccumulatorOverflowError when the
        weights could overflow.
        """
        check_network(network, self.parameters, self._where)
        image = memory_image(network, self.parameters)
        expected = image_crc(image)
        if self._link.broken:
            self._begin_session()
        self._network = None
        with self._session_ends_on_error():
            told = expected  # what the memories are said to hold
            if self.info.fixed_weights:
                told = self._valid_crc()
            else:
                self._upload(image, progress)
            found = self._verify(image)
        if found != expected and told not in (None, found):
            whose = "its bitstream says" if self.info.fixed_weights else "were sent"
            raise DeviceError(
                f"the board{self._where} holds other weights than {whose} (CRC {found:#010x},"
                f" expected {told:#010x}): a memory is faulty, or the clock too fast"
            )
        if found != expected:
            raise DeviceError(
                f"the board{self._where} holds the weights of another network, fixed in its"
                f" bitstream (CRC {found:#010x}, this network's {expected:#010x}): build it with"
                " this network (spikeloom build NET --board ... --fixed-weights), or load the"
                " network that it was built with"
            )
        self._network, self._crc = network, expected

    def _upload(self, image: list[tuple[Column, NDArray[np.uint32]]], progress: bool) -> None:
        total = sum(4 * len(words) for _, words in image)
        with _progress_bar(progress, "weights (bytes)", total) as step:
            done = 0
            for column, words in image:
                data = words.astype("<u4").tobytes()
                for row in range(0, len(words), protocol.MAX_MEM_WORDS):
                    part = data[4 * row : 4 * (row + protocol.MAX_MEM_WORDS)]
                    address = protocol.words_payload(column.address + row)
                    self._link.send(Command.MEM_WRITE, address + part)
                    done += len(part)
                    step(done)
            self._link.flush("the upload of weights")

    def _verify(self, image: list[tuple[Column, NDArray[np.uint32]]]) -> int:
        """Let the board read its memories back; return the CRC-32 of what it found."""
        for k, (column, words) in enumerate(image):
            flags = protocol.MEM_FIRST if k == 0 else 0
            flags |= protocol.MEM_LAST if k == len(image) - 1 else 0
            # Not a request: a column must not be summed twice because an answer got lost.
            self._link.send(
                Command.MEM_CRC, protocol.words_payload(column.address | flags, len(words))
            )
            self._link.flush("the board's check of its weights")
        return self.read_register("memory_crc")

    @contextmanager
    def _session_ends_on_error(self) -> Iterator[None]:
        """Frames in flight must not meet those of the next operation."""
        try:
            yield
        except BaseException:
            self._link.broken = True
            raise

    # Samples

    def run(self, images: ArrayLike, *, progress: bool = False) -> NDArray[np.int64]:
        """Classify samples on the board; return integer logits (n, classes).

        images: uint8 (n, *input_shape), see ``Network.encode``. Many samples are under way at
        once. Raises InputError on wrong data, DeviceError and LinkTimeoutError as they come.
        """
        if self._network is None:
            raise DeviceError("no network is loaded: call load(network) first")
        words = self.parameters.stream_words(self._network.encode(images))
        self._ensure_session()
        logits = np.empty((len(words), self._classes), dtype=np.int64)
        with (
            _progress_bar(progress, "samples", len(words)) as step,
            self._session_ends_on_error(),
        ):
            self._stream(words, logits, step)
        return logits

    def _may_begin(self) -> bool:
        link = self._link
        return self._samples < min(
            link.taken + self.info.samples, link.received + self.info.results
        )

    def _stream(self, words: NDArray[np.uint8], logits: NDArray[np.int64], step: Step) -> None:
        link = self._link
        begun = done = 0
        link.results.clear()
        while done < len(words):
            while begun < len(words) and self._may_begin():
                sample = words[begun].tobytes()
                for payload in protocol.infer_payloads(
                    self._samples & 255, sample, zero_runs=self.info.zero_runs
                ):
                    link.send(Command.INFER, payload)
                begun, self._samples = begun + 1, self._samples + 1
            more = begun < len(words)
            link.wait(
                lambda more=more: bool(link.results) or (more and self._may_begin()),
                f"result {done} of {len(words)}",
            )
            for crc, values in link.results:
                if done >= begun:
                    raise DeviceError("the board sent a result of a sample that it never got")
                if crc != self._crc:
                    raise DeviceError(
                        f"result {done} was computed with other weights (CRC {crc:#010x}) than"
                        f" were loaded ({self._crc:#010x}): load the network again"
                    )
                logits[done] = values
                done += 1
            link.results.clear()
            step(done)
