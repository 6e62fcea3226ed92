"""The link protocol: constants, frames and their coding, in plain Python. See docs/link.md.

A frame is at most 254 bytes with its CRC-32; on the wire it is COBS coded and ends with a zero
byte. Numbers are little endian. Sequence numbers and sample numbers count modulo 256.
"""

from __future__ import annotations

import enum
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
MAX_FRAME = 254  #: bytes of a frame before coding, with its CRC
CRC_BYTES = 4
HOST_HEADER = struct.Struct("<BBBI")  #: type, seq, results received, nonce
DEVICE_HEADER = struct.Struct("<BBBBBI")  #: type, seq, next seq, samples taken, status, nonce
MAX_HOST_PAYLOAD = MAX_FRAME - CRC_BYTES - HOST_HEADER.size
MAX_DEVICE_WORDS = (MAX_FRAME - CRC_BYTES - DEVICE_HEADER.size) // 4
MAX_MEM_WORDS = (MAX_HOST_PAYLOAD - 4) // 4  #: words of one MEM_WRITE
MAX_INFER_BYTES = MAX_HOST_PAYLOAD - 4  #: bytes of one INFER
RESULT_LOGITS = 56  #: logits of one RESULT
RESULT_BYTES = 12  #: at least: CRC of the weights, number of the first logit, a logit
MEM_FIRST, MEM_LAST = 1 << 31, 1 << 30  #: flags of MEM_CRC, beside the address


class Command(enum.IntEnum):
    """Types of the frames that a host sends."""

    IDENTIFY = 1
    READ = 2
    WRITE = 3
    MEM_WRITE = 4
    MEM_CRC = 5
    INFER = 6
    POLL = 7
    RESET = 8
    SET_BAUD = 9
    CLOSE = 10


class Reply(enum.IntEnum):
    """Types of the frames that a device sends."""

    STATUS = 0x80
    DATA = 0x81
    RESULT = 0x82
    DONE = 0x83  #: to RESET, CLOSE and SET_BAUD, before they act


class Status(enum.IntFlag):
    """The status byte of a device frame; its low four bits are an :class:`Error`."""

    EARLY = 0x10  #: a frame came whose predecessor is missing
    WEIGHTS_VALID = 0x20
    BUSY = 0x40
    NO_SESSION = 0x80  #: the frame belongs to no session that the device knows


class Error(enum.IntEnum):
    """What a device refused; it refuses everything after it until the next session."""

    OK = 0
    BAD_COMMAND = 1
    BAD_LENGTH = 2
    BAD_ADDRESS = 3
    NOT_READY = 4
    NO_CREDIT = 5
    BAD_SAMPLE = 6
    NOT_COLLECTED = 7
    FIXED_WEIGHTS = 8


ERROR_TEXT = {
    Error.BAD_COMMAND: "unknown command",
    Error.BAD_LENGTH: "the command was too short",
    Error.BAD_ADDRESS: "no such memory or register",
    Error.NOT_READY: "a sample came before verified weights",
    Error.NO_CREDIT: "a sample came without room for it",
    Error.BAD_SAMPLE: "a sample of wrong size or out of turn",
    Error.NOT_COLLECTED: "memories were touched before every result was collected",
    Error.FIXED_WEIGHTS: "the weights are fixed in the bitstream, memories cannot be written",
}


class InferFlag(enum.IntFlag):
    """Flags of an INFER frame."""

    LAST = 1  #: the sample is complete with this frame
    ZERO_RUNS = 2  #: byte 0 is followed by a count of zero words


POLL_RESEND = 1  #: POLL's flag: send every result that was not acknowledged again


class FrameError(ValueError):
    """Bytes that are no frame: bad coding, length or CRC."""


def cobs_encode(data: bytes) -> bytes:
    """Code data so that no byte is zero (Cheshire and Baker 1999); no delimiter."""
    out = bytearray()
    for group in data.split(b"\0"):
        while len(group) >= 254:
            out.append(255)
            out += group[:254]
            group = group[254:]
        out.append(len(group) + 1)
        out += group
    return bytes(out)


def cobs_decode(data: bytes) -> bytes:
    """Undo :func:`cobs_encode`; FrameError if the coding is broken."""
    out = bytearray()
    position = 0
    while position < len(data):
        code = data[position]
        end = position + code
        if code == 0 or end > len(data) or 0 in data[position + 1 : end]:
            raise FrameError("broken coding")
        out += data[position + 1 : end]
        position = end
        if code != 255 and position < len(data):
            out.append(0)
    return bytes(out)


def seal(body: bytes) -> bytes:
    """Append the CRC, code, and end with the delimiter: what goes over the wire."""
    if len(body) + CRC_BYTES > MAX_FRAME:
        raise ValueError(f"a frame has at most {MAX_FRAME} bytes, not {len(body) + CRC_BYTES}")
    coded = cobs_encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little"))
    # A frame of 254 bytes that holds no zero codes to 255 and 254 bytes; an encoder in gates does
    # the same. Python's split appends an empty group (code 1) there, which says nothing.
    if len(coded) == MAX_FRAME + 2:
        coded = coded[:-1]
    return coded + b"\0"


def unseal(coded: bytes) -> bytes:
    """Undo :func:`seal` for the bytes before a delimiter; FrameError if anything is wrong."""
    data = cobs_decode(coded)
    if not CRC_BYTES < len(data) <= MAX_FRAME:
        raise FrameError(f"{len(data)} bytes are no frame")
    body, crc = data[:-CRC_BYTES], int.from_bytes(data[-CRC_BYTES:], "little")
    if zlib.crc32(body) != crc:
        raise FrameError("CRC")
    return body


@dataclass(frozen=True)
class HostFrame:
    """A frame from the host: ``acked`` results were received in order (modulo 256)."""

    command: int
    seq: int
    acked: int
    nonce: int
    payload: bytes = b""

    def pack(self) -> bytes:
        """Return the bytes on the wire."""
        head = HOST_HEADER.pack(self.command, self.seq, self.acked, self.nonce)
        return seal(head + self.payload)

    @classmethod
    def unpack(cls, coded: bytes) -> HostFrame:
        """Parse the bytes before a delimiter; FrameError if they are no frame."""
        body = unseal(coded)
        if len(body) < HOST_HEADER.size:
            raise FrameError("short header")
        return cls(*HOST_HEADER.unpack_from(body), payload=body[HOST_HEADER.size :])


_REPLIES = frozenset(Reply)


def _check_words(payload: bytes) -> None:
    if len(payload) % 4:
        raise FrameError(f"a payload of {len(payload)} bytes is not made of words")


@dataclass(frozen=True)
class DeviceFrame:
    """A frame from the device.

    seq: the frame it answers; the sample number of a RESULT; 0 in an unasked STATUS.
    next_seq: every frame before this one was executed.
    taken: samples that have left the sample buffer, modulo 256.
    """

    reply: int
    seq: int
    next_seq: int
    taken: int
    status: int
    nonce: int
    payload: bytes = b""

    @property
    def error(self) -> int:
        """The :class:`Error` of the session."""
        return self.status & 0xF

    def words(self) -> tuple[int, ...]:
        """Payload as 32-bit words; FrameError if it is not whole words."""
        _check_words(self.payload)
        return struct.unpack(f"<{len(self.payload) // 4}I", self.payload)

    def pack(self) -> bytes:
        """Return the bytes on the wire."""
        head = DEVICE_HEADER.pack(
            self.reply, self.seq, self.next_seq, self.taken, self.status, self.nonce
        )
        return seal(head + self.payload)

    @classmethod
    def unpack(cls, coded: bytes) -> DeviceFrame:
        """Parse the bytes before a delimiter; FrameError if no device sends that."""
        body = unseal(coded)
        if len(body) < DEVICE_HEADER.size:
            raise FrameError("short header")
        payload = body[DEVICE_HEADER.size :]
        if body[0] not in _REPLIES:
            raise FrameError(f"unknown type {body[0]:#04x}")
        _check_words(payload)
        if body[0] == Reply.RESULT and len(payload) < RESULT_BYTES:
            raise FrameError(f"a result of {len(payload)} bytes")
        return cls(*DEVICE_HEADER.unpack_from(body), payload=payload)


def words_payload(*words: int) -> bytes:
    """Pack 32-bit words."""
    return struct.pack(f"<{len(words)}I", *words)


_ZEROS = re.compile(rb"\0{1,255}")


def code_zero_runs(words: bytes) -> bytes:
    """Replace every run of zero words (one byte each) by a zero and the run's length."""
    return _ZEROS.sub(lambda run: bytes((0, len(run[0]))), words)


def infer_payloads(sample: int, words: bytes, *, zero_runs: bool = True) -> Iterator[bytes]:
    """Cut one sample (one byte a word, padded to whole beats) into payloads of INFER.

    Codes runs of zeros when that is shorter (and ``zero_runs`` allows it). Payload: sample number,
    flags, fragment number, 0, then the data. A zero and its count are never cut apart.
    """
    coded = code_zero_runs(words)
    runs = zero_runs and len(coded) < len(words)
    data = coded if runs else words
    position = fragment = 0
    while position < len(data):
        end = min(position + MAX_INFER_BYTES, len(data))
        if runs and end < len(data) and data[end - 1] == 0:
            end -= 1
        flags = InferFlag.ZERO_RUNS if runs else InferFlag(0)
        if end == len(data):
            flags |= InferFlag.LAST
        yield bytes((sample & 255, flags, fragment & 255, 0)) + data[position:end]
        position, fragment = end, fragment + 1
