"""The link against frames that are sound, and that no board should send."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.device.link import Link
from spikeloom.errors import DeviceError, LinkTimeoutError
from spikeloom.hardware import protocol
from spikeloom.hardware.protocol import Command, DeviceFrame, FrameError, Reply, words_payload

NONCE = 0x1234_5678
LOGITS = 3


class Script:
    """A transport that gives out what it was told, and swallows what is written."""

    max_baud = baud = 115_200

    def __init__(self) -> None:
        self.time = 0.0
        self.waiting = b""

    def write(self, data: bytes) -> None:
        pass

    def read(self, deadline: float) -> bytes:
        data, self.waiting = self.waiting, b""
        if not data:
            self.time = max(self.time, deadline)
        return data

    def now(self) -> float:
        return self.time

    def set_baud(self, baud: int) -> None:
        self.baud = baud

    def close(self) -> None:
        pass


def frame(reply: int, payload: bytes = b"", *, seq=0, next_seq=1, taken=0, status=0, nonce=NONCE):
    head = protocol.DEVICE_HEADER.pack(reply, seq, next_seq, taken, status, nonce)
    return protocol.seal(head + payload)


def session() -> tuple[Script, Link]:
    script = Script()
    link = Link(script, nonce=lambda: NONCE)
    script.waiting = frame(Reply.DATA, words_payload(1, 2))
    assert link.identify() == (1, 2)
    link.logits = LOGITS
    return script, link


def hear(script: Script, link: Link, *frames: bytes) -> None:
    script.waiting = b"".join(frames)
    link._read(script.time)


@pytest.mark.parametrize(
    ("reply", "size"),
    [(Reply.RESULT, size) for size in (*range(12), 13, 14, 15)]
    + [(Reply.DATA, 1), (Reply.DONE, 2), (Reply.STATUS, 7)]
    + [(reply, 0) for reply in (0x00, 0x01, 0x7F, 0x84, 0xFF)],
)
def test_frames_that_no_board_sends_are_damaged(reply: int, size: int):
    coded = frame(reply, bytes(size), seq=1, next_seq=2)[:-1]
    with pytest.raises(FrameError):
        DeviceFrame.unpack(coded)
    script, link = session()
    seq = link.send(Command.READ, words_payload(0x100))
    hear(script, link, coded + b"\0")
    assert link.statistics.frames_damaged == 1
    assert not link.results
    assert not link._is_acked(seq)  # it says nothing
    hear(script, link, frame(Reply.DATA, words_payload(9), seq=1, next_seq=2))
    assert link._is_acked(seq)


def test_results_of_another_network_are_damaged():
    script, link = session()
    hear(script, link, frame(Reply.RESULT, words_payload(5, 0, 1, 2, 3, 4)))
    hear(script, link, frame(Reply.RESULT, words_payload(5, 3, 1)))
    assert link.statistics.frames_damaged == 2
    hear(script, link, frame(Reply.RESULT, words_payload(5, 0, 1, 2**32 - 2)))
    hear(script, link, frame(Reply.RESULT, words_payload(5, 0, 1, 2**32 - 2)))  # again
    hear(script, link, frame(Reply.RESULT, words_payload(5, 2, 3)))
    assert link.results == [(5, [1, -2, 3])]


def test_an_identity_that_is_not_made_of_words_is_garbage():
    script = Script()
    link = Link(script, nonce=lambda: NONCE)
    script.waiting = frame(Reply.DATA, b"abc")
    with pytest.raises(LinkTimeoutError, match="answers garbage"):
        link.identify()
    assert link.statistics.frames_damaged == 1


def bytes_or_replies() -> st.SearchStrategy[int]:
    return st.one_of(st.sampled_from(list(Reply)), st.integers(0, 255))


FRAMES = st.builds(
    frame,
    bytes_or_replies(),
    st.one_of(
        st.binary(max_size=40),
        st.integers(0, 60).map(bytes),
        st.lists(st.integers(0, 4), max_size=6).map(lambda words: words_payload(*words)),
    ),
    seq=st.one_of(st.integers(0, 3), st.integers(0, 255)),
    next_seq=st.one_of(st.integers(0, 9), st.integers(0, 255)),
    taken=st.one_of(st.integers(0, 3), st.integers(0, 255)),
    status=st.sampled_from([0, 0, 0, 0x10, 0x20, 0x60, 0x80, 1, 15]),
    nonce=st.sampled_from([NONCE] * 7 + [1]),
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(FRAMES, min_size=1, max_size=12), st.integers(0, 6))
def test_any_sound_frames_are_answers_damage_or_an_error_of_the_device(frames, sent):
    script, link = session()
    for _ in range(sent):
        link.send(Command.READ, words_payload(0x100))
    with contextlib.suppress(DeviceError):  # nothing else
        for item in frames:
            hear(script, link, item)
    assert link.received == len(link.results)
    assert all(len(logits) == LOGITS for _, logits in link.results)
    assert all(0 < seq <= sent for seq in link._answers)
    assert len(link._unacked) <= sent


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(FRAMES, max_size=4), st.binary(max_size=60))
def test_any_sound_frames_while_identifying(frames, rubbish):
    script = Script()
    link = Link(script, nonce=lambda: NONCE)
    script.waiting = rubbish + b"\0" + b"".join(frames)
    with contextlib.suppress(DeviceError):
        assert all(isinstance(word, int) for word in link.identify())


def test_the_fuzz_makes_sound_frames():
    coded = frame(Reply.STATUS, b"abcd")[:-1]
    body = protocol.unseal(coded)
    assert zlib.crc32(body) == int.from_bytes(protocol.cobs_decode(coded)[-4:], "little")
    assert DeviceFrame.unpack(coded).payload == b"abcd"
