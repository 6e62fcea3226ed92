"""The plain data that describes a network in gates."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spikeloom.errors import SpikeloomError
from spikeloom.hardware.parameters import (
    ConvParameters,
    DenseParameters,
    Folding,
    NetworkParameters,
    Window,
)
from spikeloom.hardware.words import pack_fields


@st.composite
def networks(draw):
    """Random legal networks of one to three layers."""
    count = draw(st.integers(1, 3))
    sizes = [draw(st.integers(1, 40)) for _ in range(count + 1)]
    bits = [draw(st.integers(1, 8)) for _ in range(count)]
    layers, fire = [], 1
    for k in range(count):
        slices = draw(st.integers(1, 3))
        scan = fire * slices * draw(st.integers(1, 3))
        fire = draw(st.integers(1, 4))
        layers.append(
            DenseParameters(
                inputs=sizes[k],
                outputs=sizes[k + 1],
                input_bits=bits[k],
                output_bits=bits[k + 1] if k + 1 < count else 0,
                weight_bits=draw(st.integers(2, 8)),
                accumulator_bits=draw(st.integers(8, 32)),
                threshold_bits=draw(st.integers(1, 16)),
                folding=Folding(
                    lanes=fire * draw(st.integers(1, 5)),
                    slices=slices,
                    scan=scan,
                    fire_lanes=fire,
                    form=draw(st.sampled_from(["packed", "serial"])),
                    multiplier=draw(st.sampled_from(["lut", "mult18x18d", "sb_mac16"])),
                    weight_memory=draw(st.sampled_from(["block", "spram"])),
                ),
            )
        )
    return NetworkParameters(tuple(layers))


@given(networks())
def test_words_describe_the_whole_structure(parameters):
    words = parameters.to_words()
    assert all(0 <= word < 1 << 32 for word in words)
    assert NetworkParameters.from_words(words) == parameters


def two_layers(**changes) -> NetworkParameters:
    hidden = DenseParameters(20, 6, 8, 4, 8, 24, folding=Folding(lanes=4, fire_lanes=2))
    readout = DenseParameters(6, 3, 4, 0, 8, 20, folding=Folding(lanes=3))
    return NetworkParameters((dataclasses.replace(hidden, **changes), readout))


def test_build_id_changes_with_the_structure():
    base = two_layers().build_id
    assert base == two_layers().build_id
    others = [
        two_layers(inputs=21),
        two_layers(accumulator_bits=23),
        two_layers(weight_bits=7),
        two_layers(folding=Folding(lanes=6, fire_lanes=2)),
    ]
    assert len({base, *(other.build_id for other in others)}) == 5


def test_layers_must_fit_each_other():
    with pytest.raises(ValueError, match=r"layers 0 and 1: 5 outputs do not match 6 inputs"):
        two_layers(outputs=5)
    with pytest.raises(ValueError, match=r"words of 3 bits do not match 4"):
        two_layers(output_bits=3)
    with pytest.raises(
        ValueError, match=r"8 words a transfer in, 3 out: one must divide the other"
    ):
        two_layers(folding=Folding(lanes=6, fire_lanes=3))
    with pytest.raises(ValueError, match=r"only the last layer is a readout"):
        two_layers(output_bits=0)


def test_a_folding_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"fire_lanes 3 must divide lanes 8"):
        Folding(lanes=8, fire_lanes=3)
    with pytest.raises(ValueError, match=r"scan 8 must be a multiple of slices 3"):
        Folding(slices=3)
    with pytest.raises(ValueError, match=r"form must be one of .*, not 'fast'"):
        Folding(form="fast")  # pyright: ignore[reportArgumentType]


def test_paired_units_are_even_and_in_block_ram():
    with pytest.raises(ValueError, match=r"paired units must be an even number, not 3: use one"):
        Folding(units=3, paired=True)
    with pytest.raises(ValueError, match=r"paired units must be an even number, not 1"):
        Folding(paired=True)
    for memory in ("spram", "distributed"):
        with pytest.raises(ValueError, match=rf"share .* weight_memory 'block', not of '{memory}'"):
            Folding(units=2, weight_memory=memory, paired=True)
    with pytest.raises(ValueError, match=r"paired must be True or False, not 1"):
        Folding(units=2, paired=1)  # pyright: ignore[reportArgumentType]
    folding = Folding(units=4, paired=True)
    assert folding.copies == 2
    assert [folding.copy_of(unit) for unit in range(4)] == [0, 0, 1, 1]
    assert Folding(units=4).copies == 4


def test_paired_units_are_described_and_change_the_build_id():
    def net(**fold) -> NetworkParameters:
        window = Window(6, 6, 3, 3, 1, 1, 1, 1)
        conv = ConvParameters(4, 8, window, 4, 4, 8, 20, folding=Folding(8, 1, 4, **fold))
        last = DenseParameters(288, 3, 4, 0, 8, 20, folding=Folding(3, scan=4), pixels=36)
        return NetworkParameters((conv, last))

    apart, pairs = net(units=4), net(units=4, paired=True)
    assert NetworkParameters.from_words(pairs.to_words()) == pairs
    assert len(pairs.to_words()) == len(apart.to_words())
    assert pairs.build_id != apart.build_id
    # what a device without pairs says of itself is what it said before there were any
    assert pack_fields(Folding(8, 1, 4, units=4)) == bytes([16, 2, 8, 2, 0, 0, 0, 8])


def test_words_of_other_gateware_are_refused():
    words = two_layers().to_words()
    with pytest.raises(SpikeloomError, match=r"gateware version 3, this driver speaks 2"):
        NetworkParameters.from_words((words[0] + (1 << 16), *words[1:]))
    with pytest.raises(SpikeloomError, match=r"describes 2 layers in 9 words"):
        NetworkParameters.from_words(words[:-1])


def test_a_weight_memory_deeper_than_the_load_bus_is_refused():
    with pytest.raises(ValueError, match=r"weight memory of 25088 rows .*use more lanes or slices"):
        DenseParameters(784, 128, 8, 4, 8, 24, folding=Folding(lanes=4))
