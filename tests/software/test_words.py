"""Dataclasses of small integers as bytes and as 32-bit words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spikeloom.errors import SpikeloomError
from spikeloom.hardware.parameters import NetworkParameters
from spikeloom.hardware.words import bytes_to_words, pack_fields, unpack_fields, words_to_bytes
from spikeloom_sim.random_network import random_conv_network, random_foldings

Colour = Literal["red", "green", "blue"]


@dataclass(frozen=True)
class Inner:
    a: int
    flag: bool = False


@dataclass(frozen=True)
class Outer:
    number: int
    inner: Inner
    colour: Colour = "red"
    last: int = 0


@dataclass(frozen=True)
class Signed:
    count: int
    other: int = 3
    flag: bool = field(default=False, metadata={"sign_of": "count"})


outers = st.builds(
    Outer,
    st.integers(-(2**40), 2**40),
    st.builds(Inner, st.integers(-300, 300), st.booleans()),
    st.sampled_from(["red", "green", "blue"]),
    st.integers(-1, 1),
)


@given(outers)
def test_fields_survive(item):
    data = iter(pack_fields(item))
    back = unpack_fields(Outer, data)
    assert back == item
    assert type(back.inner.flag) is bool
    assert list(data) == []


@given(st.lists(outers, max_size=4))
def test_items_follow_each_other(items):
    data = iter(b"".join(map(pack_fields, items)))
    assert [unpack_fields(Outer, data) for _ in items] == items


@given(outers, st.data())
def test_a_cut_description_is_refused(item, data):
    whole = pack_fields(item)
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match="cut short"):
        unpack_fields(Outer, iter(whole[:length]))


def test_an_unknown_choice_is_refused():
    data = bytearray(pack_fields(Outer(1, Inner(1), "red", 0)))
    data[3] = 2 * 3  # zigzag of 3
    with pytest.raises(ValueError, match="colour 3 is no known choice"):
        unpack_fields(Outer, iter(data))


def test_a_flag_may_be_a_sign():
    """It takes no place: without it the bytes are those of before there was such a flag."""
    assert pack_fields(Signed(5)) == bytes([10, 6])
    assert pack_fields(Signed(5, flag=True)) == bytes([9, 6])
    for item in (Signed(5), Signed(5, flag=True), Signed(300, -2, True)):
        assert unpack_fields(Signed, iter(pack_fields(item))) == item


def test_small_numbers_take_one_byte():
    for value in (-64, -1, 0, 1, 63):
        assert len(pack_fields(Inner(value))) == 2
    assert len(pack_fields(Inner(64))) == 3


@given(st.binary(max_size=20))
def test_words_hold_bytes_little_endian(data):
    words = bytes_to_words(data)
    assert all(0 <= word < 1 << 32 for word in words)
    assert words_to_bytes(words) == data + bytes(-len(data) % 4)
    if data:
        assert words[0] & 0xFF == data[0]


def described(seed: int) -> NetworkParameters:
    network = random_conv_network(seed)
    return network.parameters(random_foldings(network, seed))


@given(st.integers(0, 300))
def test_a_network_of_any_layers_survives(seed):
    parameters = described(seed)
    words = parameters.to_words()
    assert all(0 <= word < 1 << 32 for word in words)
    back = NetworkParameters.from_words(words)
    assert back == parameters
    assert back.build_id == parameters.build_id
    assert back.buffers == parameters.buffers


@given(st.integers(0, 40), st.data())
def test_damaged_words_are_another_network_or_refused(seed, data):
    """A driver gets one error of its own kind, never another one."""
    words = list(described(seed).to_words())
    at = data.draw(st.integers(0, len(words) - 1))
    words[at] ^= 1 << data.draw(st.integers(0, 31))
    words = words[: data.draw(st.integers(1, len(words)))]
    try:
        back = NetworkParameters.from_words(words)
    except SpikeloomError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert back.to_words()[0] == words[0]
