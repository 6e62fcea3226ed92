"""Frames, coding and the register declaration, in plain Python."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spikeloom.hardware import protocol, registers
from spikeloom.hardware.protocol import Command, DeviceFrame, FrameError, HostFrame, Reply

ROOT = Path(__file__).parents[2]

# From Cheshire and Baker's examples, as every implementation codes them.
COBS_VECTORS = [
    (b"", b"\x01"),
    (b"\x00", b"\x01\x01"),
    (b"\x00\x00", b"\x01\x01\x01"),
    (b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33"),
    (b"\x11\x22\x33\x44", b"\x05\x11\x22\x33\x44"),
    (b"\x11\x00\x00\x00", b"\x02\x11\x01\x01\x01"),
]


@pytest.mark.parametrize(("plain", "coded"), COBS_VECTORS)
def test_coding_vectors(plain: bytes, coded: bytes):
    assert protocol.cobs_encode(plain) == coded
    assert protocol.cobs_decode(coded) == plain


@given(st.binary(max_size=600))
def test_coding_is_undone(data: bytes):
    coded = protocol.cobs_encode(data)
    assert 0 not in coded
    assert protocol.cobs_decode(coded) == data


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_a_frame_error(data: bytes):
    for parse in (HostFrame.unpack, DeviceFrame.unpack):
        with pytest.raises(FrameError):
            parse(data)


def test_frames_are_undone():
    payload = bytes(range(243))
    frame = HostFrame(Command.INFER, 255, 7, 0x12345678, payload)
    wire = frame.pack()
    assert wire.count(0) == 1
    assert len(wire) == protocol.MAX_FRAME + 2
    assert HostFrame.unpack(wire[:-1]) == frame
    reply = DeviceFrame(Reply.DATA, 1, 2, 3, 0x25, 0xFFFFFFFF, protocol.words_payload(1, 1 << 31))
    assert DeviceFrame.unpack(reply.pack()[:-1]) == reply
    assert reply.words() == (1, 1 << 31)
    assert reply.error == 5
    with pytest.raises(ValueError, match="at most 254 bytes"):
        HostFrame(Command.INFER, 0, 0, 1, payload + b"x").pack()


def test_the_longest_frame_without_a_zero():
    frame = HostFrame(1, 1, 1, 0x01010101, b"\x01" * 243)
    body = frame.pack()
    assert zlib.crc32(b"\1" * 250).to_bytes(4, "little").count(0) == 0
    assert len(body) == protocol.MAX_FRAME + 2
    assert body[0] == 255
    assert HostFrame.unpack(body[:-1]) == frame


def test_every_flipped_bit_is_noticed():
    wire = HostFrame(Command.READ, 3, 0, 99, protocol.words_payload(5)).pack()
    for place in range(len(wire) - 1):
        for bit in range(8):
            bad = bytearray(wire[:-1])
            bad[place] ^= 1 << bit
            for part in bytes(bad).split(b"\0"):
                with pytest.raises(FrameError):
                    HostFrame.unpack(part)


def expand(payloads: list[bytes]) -> tuple[bytes, list[int]]:
    words, flags = bytearray(), []
    for fragment, payload in enumerate(payloads):
        assert payload[2] == fragment
        assert len(payload) <= protocol.MAX_HOST_PAYLOAD
        flags.append(payload[1])
        data, k = payload[4:], 0
        while k < len(data):
            if payload[1] & protocol.InferFlag.ZERO_RUNS and data[k] == 0:
                words += bytes(data[k + 1])
                k += 2
            else:
                words.append(data[k])
                k += 1
    return bytes(words), flags


@given(
    st.lists(st.one_of(st.integers(1, 700).map(bytes), st.binary(min_size=1, max_size=300)))
    .map(b"".join)
    .filter(bool),
    st.booleans(),
)
def test_samples_are_cut_and_coded(words: bytes, zero_runs: bool):
    payloads = list(protocol.infer_payloads(5, words, zero_runs=zero_runs))
    found, flags = expand(payloads)
    assert found == words
    assert all(payload[0] == 5 for payload in payloads)
    last = [flag & protocol.InferFlag.LAST for flag in flags]
    assert last == [0] * (len(flags) - 1) + [1]
    if not zero_runs:
        assert not any(flag & protocol.InferFlag.ZERO_RUNS for flag in flags)


def test_zeros_are_worth_coding():
    words = np.zeros(784, dtype=np.uint8)
    words[300:450] = 7
    assert sum(map(len, protocol.infer_payloads(0, words.tobytes()))) < 200


def test_registers_are_declared_soundly():
    names = [r.name for r in registers.REGISTERS]
    addresses = [r.address for r in registers.REGISTERS]
    assert len(set(names)) == len(names)
    assert addresses == sorted(set(addresses))
    assert [r.address for r in registers.IDENTITY] == list(range(len(registers.IDENTITY)))
    for r in registers.REGISTERS:
        assert (r.address < registers.DYNAMIC) == (r.access == "constant")
        mask = 0
        for field in r.fields:
            bits = (1 << field.bits) - 1 << field.low
            assert not mask & bits
            assert bits < 1 << 32
            mask |= bits
        if "write" in r.access:
            assert r.fields
        if r.block:
            owner, name = r.block.split(".")
            assert name in {f.name for f in registers.BY_NAME[owner].fields}


def test_fields_and_pack():
    word = registers.pack("buffers", results=16, samples=2, frames=2, max_frame=254)
    assert registers.fields("buffers", word) == {
        "results": 16,
        "samples": 2,
        "frames": 2,
        "max_frame": 254,
    }
    with pytest.raises(ValueError, match=r"buffers\.results has 8 bits"):
        registers.pack("buffers", results=256)


def test_the_register_page_is_up_to_date():
    page = (ROOT / "docs" / "registers.md").read_text()
    assert page == registers.markdown(), "run: python -m spikeloom.hardware.registers"


def test_the_hash_follows_the_map(monkeypatch):
    before = registers.map_hash()
    monkeypatch.setattr(registers, "REGISTERS", registers.REGISTERS[:-1])
    assert registers.map_hash() != before


def test_every_error_has_a_text():
    assert set(protocol.ERROR_TEXT) == set(protocol.Error) - {protocol.Error.OK}
