"""The planner: targets, bottlenecks, bounds, and what it says when a network does not fit."""

import dataclasses
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from spikeloom.errors import BuildError
from spikeloom.hardware.parameters import (
    ConvParameters,
    DenseParameters,
    Folding,
    NetworkParameters,
    PoolParameters,
    Window,
)
from spikeloom.network import Flatten, Network, Readout
from spikeloom.ops import Conv2d, MaxPool2d
from spikeloom_boards.activity import Activity, assumed, measured
from spikeloom_boards.choices import options
from spikeloom_boards.cost import layer_cost
from spikeloom_boards.cycle_model import LayerTimes
from spikeloom_boards.netlist import prepare
from spikeloom_boards.plan import Goal, describe, foldings, plan, unfolded
from spikeloom_boards.plan_file import planned, write_plan
from spikeloom_boards.plan_report import layer_table, resource_table, summary
from spikeloom_boards.registry import board


def conv_op(name, inputs, outputs, *, bits=4):
    generator = np.random.default_rng(len(name) + inputs)
    return Conv2d(
        name,
        weight=generator.integers(-90, 90, (outputs, inputs, 3, 3)).astype(np.int8),
        bias=np.full(outputs, 50),
        input_bits=bits,
        weight_bits=8,
        accumulator_bits=22,
        output_bits=4,
        threshold=np.full(outputs, 90 * (1 << bits) // 8),
        output_scale=np.ones(outputs),
        padding=(1, 1),
    )


def small_network(size=12):
    """8c3 - 16c3 - mp2 - 10 on size x size images."""
    weight = np.random.default_rng(1).integers(-90, 90, (10, 16 * (size // 2) ** 2))
    return Network(
        [
            conv_op("first", 1, 8, bits=8),
            conv_op("second", 8, 16),
            MaxPool2d("pool", (2, 2), (2, 2)),
            Flatten("flatten"),
            Readout(
                "readout",
                weight=weight.astype(np.int8),
                bias=np.zeros(10, np.int64),
                input_bits=4,
                weight_bits=8,
                accumulator_bits=24,
                logit_scale=1.0,
            ),
        ],
        (1, size, size),
    )


@pytest.fixture(scope="module")
def net():
    return small_network()


@pytest.fixture(scope="module")
def activity(net):
    return assumed(unfolded(net), first=0.2, later=0.3)


@pytest.fixture(scope="module")
def plans(net, activity):
    device = board("ulx3s-45f")
    targets = ("balanced", "throughput", "latency", "area")
    return {t: plan(net, device, goal=Goal(t), activity=activity) for t in targets}


def test_each_target_is_the_best_at_what_it_is_for(plans):
    for name, other in plans.items():
        assert plans["throughput"].interval <= 1.02 * other.interval, name
        assert plans["latency"].latency <= other.latency, name
        assert plans["area"].total.luts <= other.total.luts, name

    def product(of):
        return of.interval * of.total.luts

    assert product(plans["balanced"]) <= 1.05 * min(product(p) for p in plans.values())


def test_plans_keep_to_the_board(plans):
    have = board("ulx3s-45f").resources
    for one in plans.values():
        assert one.total.luts <= 0.75 * have.luts
        assert one.total.block_rams <= have.block_rams
        assert one.total.multipliers <= have.multipliers


def test_a_plan_names_its_bottleneck_and_bounds_the_worst_data(plans):
    for one in plans.values():
        assert one.bottleneck.cycles == max(layer.cycles for layer in one.layers)
        assert one.worst_interval >= one.interval
        assert one.worst_latency >= one.latency
        assert one.interval >= 0.95 * one.bottleneck.cycles
        assert [layer.kind for layer in one.layers] == ["conv", "conv", "pool", "dense"]


def test_a_rate_is_reached_with_the_least_area(net, activity, plans):
    device, wanted = board("ulx3s-45f"), 2 * plans["throughput"].interval
    goal = Goal(images_per_second=device.clock_hz / wanted)
    found = plan(net, device, goal=goal, activity=activity)
    assert found.interval <= wanted
    assert found.total.luts < plans["throughput"].total.luts
    with pytest.raises(BuildError, match=r"ULX3S-45F: 1e\+07 images a second .* is the slowest"):
        plan(net, device, goal=Goal(images_per_second=1e7), activity=activity)


def test_more_spikes_take_longer(net, activity):
    device = board("ulx3s-25f")
    lanes = plan(net, device, activity=activity)
    busier = assumed(unfolded(net), first=0.9, later=0.9)
    assert plan(net, device, activity=busier).interval > lanes.interval


def test_activity_is_measured_with_the_golden_model(net):
    images = np.random.default_rng(3).integers(0, 255, (5, 1, 12, 12), dtype=np.uint8)
    images[:, :, :6] = 0
    found = measured(net, images)
    assert [None if s is None else s.shape for s in found.spikes] == [
        (5, 144, 1),
        (5, 144, 8),
        None,
        (5, 36, 16),
    ]
    assert found.densities[0] == pytest.approx(0.5, abs=0.02)
    words = net.trace(images)[0].words.reshape(5, 8, 144)
    assert found.spikes[1] is not None
    assert np.array_equal(found.spikes[1] > 0, words.transpose(0, 2, 1) > 0)
    assert found.source == "measured on 5 images"


def test_boards_fold_as_the_balanced_plan(net):
    device = board("ulx3s-45f")
    chosen = device.fold(net)
    assert chosen == foldings(net, device) == plan(net, device).foldings
    assert net.parameters(chosen).layers[1].folding == chosen[1]


def test_a_plan_fits_only_its_own_network(net, plans, tmp_path):
    path = tmp_path / "net.toml"
    write_plan(plans["area"], path)
    device = board("ulx3s-45f")
    assert planned(net, device, path) == net.parameters(plans["area"].foldings)
    with pytest.raises(BuildError, match="the plan is for a network of another structure"):
        planned(small_network(14), device, path)
    renamed = dataclasses.replace(net.ops[0], name="else")
    with pytest.raises(BuildError, match="layers first, second, .* the network has else, second"):
        planned(Network([renamed, *net.ops[1:]], net.input_shape), device, path)


def test_words_for_people(plans):
    device, one = board("ulx3s-45f"), plans["balanced"]
    text = summary(one)
    assert f"bottleneck: {one.bottleneck.name} (" in text
    assert "images a second" in text
    assert "never slower" in text
    assert layer_table(one, device).row_count == len(one.layers) + 1
    assert resource_table(one, device).row_count == 4


def dense(*sizes, weight_bits=8):
    layers = []
    for k in range(len(sizes) - 1):
        out = 4 if k < len(sizes) - 2 else 0
        bits = 8 if k == 0 else 4
        layers.append(
            DenseParameters(
                sizes[k], sizes[k + 1], bits, out, weight_bits, 22, folding=Folding(sizes[k + 1])
            )
        )
    return NetworkParameters(tuple(layers))


@pytest.mark.parametrize(
    ("name", "network", "message"),
    [
        (
            "ulx3s-12f",
            dense(784, 256, 10),
            r"ULX3S-12F: \d+ block RAMs are missing: the network needs \d+ block RAMs, the board"
            r" has 56; layer 0 \(784 x 256\) alone needs \d+: the ULX3S-85F would do, or 3-bit"
            r" weights would do, or \d+ outputs in layer 0 would do",
        ),
        (
            "ulx3s-85f",
            dense(784, 1000, 10),
            r"ULX3S-85F: \d+ block RAMs are missing.*; layer 0 .*: \d-bit weights would do",
        ),
        (
            "icebreaker",
            dense(784, 256, 10),
            r"iCEBreaker: \d+ SPRAMs are missing: .*layer 0 \(784 x 256\) alone needs \d: .*do",
        ),
        (
            "icebreaker",
            dense(100, 100, 100, 100, 10),
            r"iCEBreaker: \d+ (LUTs|block RAMs) are missing.*layer \d",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_a_remedy(name, network, message):
    with pytest.raises(BuildError, match=message) as error:
        plan(network, board(name))
    assert "\n" not in str(error.value)


def test_a_remedy_works():
    network = dense(784, 256, 10)
    assert plan(network, board("ulx3s-85f")).interval > 0
    layers = [dataclasses.replace(layer, weight_bits=3) for layer in network.layers]
    assert plan(NetworkParameters(tuple(layers)), board("ulx3s-12f")).interval > 0


def test_layers_that_wait_for_each_other_are_said_to(plans):
    one = plans["balanced"]
    assert not one.waits
    slow = dataclasses.replace(one, interval=2 * one.bottleneck.cycles)
    assert slow.waits
    assert "bottleneck: layers wait for each other, the slowest by itself is" in summary(slow)


def test_convolutions_that_do_not_fit():
    window = Window(14, 14, 3, 3, 1, 1, 1, 1)
    pooled = Window(14, 14, 2, 2, 2, 2)
    layers = (
        ConvParameters(64, 256, window, 4, 4, 8, 24, folding=Folding(256, scan=1)),
        PoolParameters("max", 256, pooled, 4, folding=Folding(1, scan=1)),
        DenseParameters(256 * 49, 10, 4, 0, 8, 24, folding=Folding(10, scan=1), pixels=49),
    )
    with pytest.raises(BuildError, match=r"block RAMs are missing.*layer 2 \(12544 x 10\)"):
        plan(NetworkParameters(layers), board("icebreaker"))


def paired(net):
    """The second convolution with four units in pairs, 576 rows of weights deep."""
    pairs = Folding(2, 1, 2, 2, units=4, paired=True)
    return net.parameters([Folding(2, 1, 1, 2), pairs, Folding(2), Folding(2, scan=2)])


def test_a_plan_may_pair_units(net, activity, tmp_path):
    device, parameters = board("ulx3s-45f"), paired(net)
    names = [op.name for op in net.layers]
    found = describe(parameters, device, Goal(), activity, names)
    fold = dataclasses.replace(found.foldings[1], paired=False)
    apart = dataclasses.replace(parameters.layers[1], folding=fold)
    assert layer_cost(apart, "ecp5").block_rams - found.layers[1].cost.block_rams == 2
    write_plan(found, tmp_path / "plan.toml")
    assert planned(net, device, tmp_path / "plan.toml") == parameters
    table = Console(width=200, file=StringIO())
    table.print(layer_table(found, device))
    assert "4 units in pairs" in table.file.getvalue()


@pytest.mark.parametrize(
    "call",
    [
        lambda device, parameters: describe(parameters, device, Goal(), assumed(parameters), []),
        prepare,
    ],
    ids=["plan", "build"],
)
def test_paired_units_need_two_ports_that_read(net, call):
    device, parameters = board("icebreaker"), paired(net)
    message = "layer 1 has paired units, but the block RAM of the iCE40UP5K has no two ports that"
    with pytest.raises(BuildError, match=message):
        call(device, parameters)


def test_units_are_paired_where_that_saves_block_ram():
    window = Window(8, 8, 3, 3, 1, 1, 1, 1)
    # columns of 16 bits, and of few rows: a block for each, where a port would do
    layer = ConvParameters(16, 4, window, 4, 4, 4, 22, folding=Folding(4, 1, 16))
    spikes = np.random.default_rng(1).integers(0, 4, (2, 64, 16), dtype=np.uint8)
    times = LayerTimes(spikes)
    pairs = [o for o in options(layer, times, board("ulx3s-85f")) if o.layer.folding.paired]
    assert pairs
    for option in pairs:
        fold = dataclasses.replace(option.layer.folding, paired=False)
        apart = layer_cost(dataclasses.replace(option.layer, folding=fold), "ecp5")
        assert option.cost.block_rams < apart.block_rams
    for option in options(layer, times, board("icebreaker")):
        assert not option.layer.folding.paired


def test_goals_are_checked():
    with pytest.raises(ValueError, match="target must be one of .*, not 'speed'"):
        Goal("speed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="images_per_second must be >= 0"):
        Goal(images_per_second=-1.0)


def test_samples_of_an_activity():
    some = Activity((np.ones((3, 4, 2), np.uint8), None), "test")
    assert some.samples == 3
    assert some.first(2).samples == 2
    assert some.repeated(2).samples == 6
    assert some.sample(2).samples == 1
