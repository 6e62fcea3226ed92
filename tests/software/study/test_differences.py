"""Where two runs part: every kind of difference is found, and the first one is named."""

import dataclasses

import numpy as np
import pytest
from spikeloom.errors import InputError
from spikeloom.golden import Trace, trace_words
from spikeloom.study.differences import Difference, differing, first_difference, spike_steps
from spikeloom_sim.random_network import random_conv_network, random_words


@pytest.fixture(scope="module")
def network():
    """With potentials that pass through a max pool, words that an average pool gives, a skip."""
    blocks = ["conv", "maxfire", "avgpool", "same", "dense"]
    made = random_conv_network(4, blocks=blocks, shape=(2, 7, 6), channels=4, bits=4)
    kinds = [op.kind for op in made.layers]
    assert kinds == [
        "conv2d", "conv2d", "maxpool2d", "fire", "avgpool2d", "conv2d", "dense", "readout",
    ]  # fmt: skip
    return made


@pytest.fixture(scope="module")
def golden(network):
    return trace_words(network, random_words(network, 6, seed=3))


def changed(golden, *changes):
    """Copy a trace, with (layer number, field, index, new value or its change) put in."""
    found = [
        Trace(t.name, *(None if v is None else v.copy() for v in (t.potentials, t.words)))
        for t in golden
    ]
    for number, field, index, value in changes:
        getattr(found[number], field)[index] = value
    return found


def at(golden, number, field, index):
    return int(getattr(golden[number], field)[index])


def test_equal_runs_have_no_difference(network, golden):
    assert first_difference(network, golden, changed(golden)) is None
    assert differing(golden, changed(golden)) == [0] * len(golden)


def test_what_is_not_shown_is_not_compared(network, golden):
    found = [Trace(golden[1].name, None, None), changed(golden)[3]]
    assert differing(golden, found) == [0, 0]
    assert first_difference(network, golden, found) is None


def test_a_potential_whose_spikes_differ(network, golden):
    op, edge = network.layers[0], network.edges[golden[0].name]
    theta = int(op.threshold[1])
    before = at(golden, 0, "potentials", (2, 1, 1, 2))
    word = at(golden, 0, "words", (2, 1, 1, 2))
    for step in range(1, edge.bits + 1):
        other = word ^ 1 << edge.bits - step  # the spike of that step, and no other
        value = theta * other
        found = changed(golden, (0, "potentials", (2, 1, 1, 2), value))
        assert first_difference(network, golden, found) == Difference(
            2, golden[0].name, 1, (1, 2), "potential", step, before, value
        )
        assert differing(golden, found) == [1, *[0] * 7]


def test_a_potential_that_leaves_the_spikes_as_they_are(network, golden):
    op = network.layers[0]
    index = tuple(np.argwhere(golden[0].potentials < 0)[0])
    before = at(golden, 0, "potentials", index)
    found = changed(golden, (0, "potentials", index, before - 1))
    difference = first_difference(network, golden, found)
    assert op.threshold is not None
    assert (difference.step, difference.expected, difference.found) == (None, before, before - 1)
    assert "no spike differs" in str(difference)


def test_a_word_that_the_fire_stage_gets_wrong(network, golden):
    word = at(golden, 0, "words", (0, 0, 0, 0))
    found = changed(golden, (0, "words", (0, 0, 0, 0), word ^ 0b0110))
    assert first_difference(network, golden, found) == Difference(
        0, golden[0].name, 0, (0, 0), "word", 2, word, word ^ 0b0110
    )


def test_layers_without_words_or_without_potentials(network, golden):
    for number, field, what in ((2, "potentials", "potential"), (4, "words", "word")):
        index = (1, *(n - 1 for n in getattr(golden[number], field).shape[1:]))
        value = at(golden, number, field, index)
        found = changed(golden, (number, field, index, value ^ 1))
        difference = first_difference(network, golden, found)
        assert (difference.layer, difference.what) == (golden[number].name, what)
        assert (difference.channel, *difference.position) == index[1:]
        assert difference.step == (4 if what == "word" else None)


def test_flat_layers_have_no_position(network, golden):
    value = at(golden, 7, "potentials", (3, 1))
    found = changed(golden, (7, "potentials", (3, 1), value + 5))
    difference = first_difference(network, golden, found)
    assert (difference.sample, difference.channel, difference.position) == (3, 1, ())
    name = golden[7].name
    assert str(difference) == (
        f"sample 3: layer {name!r}, channel 1: the golden model has the potential {value},"
        f" the hardware {value + 5} (no spike differs)"
    )


def flipped(golden, number, field, index):
    return number, field, index, at(golden, number, field, index) ^ 1


@pytest.mark.parametrize(
    ("first", "later"),
    [
        # sample, before layer
        ((7, "potentials", (1, 0)), (0, "potentials", (2, 0, 0, 0))),
        # layer, before what follows it
        ((4, "words", (1, 0, 0, 0)), (5, "potentials", (1, 0, 0, 0))),
        # potentials, before the words they become
        ((0, "potentials", (1, 0, 1, 1)), (0, "words", (1, 0, 0, 0))),
        # pixel, before channel
        ((0, "potentials", (1, 1, 0, 1)), (0, "potentials", (1, 0, 1, 0))),
        ((0, "potentials", (1, 0, 0, 1)), (0, "potentials", (1, 1, 0, 1))),
    ],
)
def test_the_first_of_two_is_named(network, golden, first, later):
    found = changed(golden, flipped(golden, *first), flipped(golden, *later))
    difference = first_difference(network, golden, found)
    number, field, (sample, channel, *position) = first
    assert (difference.layer, difference.sample) == (golden[number].name, sample)
    assert (difference.channel, list(difference.position)) == (channel, position)
    assert difference.what == field.removesuffix("s")
    assert sum(differing(golden, found)) == 2


def test_a_layer_may_be_shown_twice(network, golden):
    """As probed, and as it left the core."""
    found = changed(golden)
    again = Trace(golden[7].name, golden[7].potentials + 1, None)
    assert differing(golden, [*found, again]) == [0] * 8 + [golden[7].potentials.size]
    assert first_difference(network, golden, [*found, again]).layer == golden[7].name


def test_what_cannot_be_compared_is_refused(network, golden):
    short = dataclasses.replace(golden[0], potentials=golden[0].potentials[:, :, :-1])
    with pytest.raises(InputError, match="the hardware gives potentials"):
        differing(golden, [short])
    with pytest.raises(InputError, match="the golden model none"):
        differing(golden, [Trace(golden[7].name, None, np.zeros((6, 3), np.uint8))])
    with pytest.raises(InputError, match="no layer 'elsewhere'"):
        first_difference(network, golden, [Trace("elsewhere", None, None)])


def test_spikes_of_each_step():
    words = np.array([[0b1000, 0b1010], [0b0001, 0b1111]], np.uint8)
    assert spike_steps(words, 4).tolist() == [3, 1, 2, 2]
