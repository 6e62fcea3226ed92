"""The cycle model against gates: every transfer of every kind of layer, to the cycle."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from spikeloom.errors import SpikeloomError
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    FireParameters,
    Folding,
    NetworkParameters,
    PadParameters,
    PoolParameters,
    Window,
)
from spikeloom_boards.activity import Activity, assumed, full
from spikeloom_boards.cycle_model import (
    LayerTimes,
    groups,
    queue_depth,
    skew,
    spacing,
    window_events,
)
from spikeloom_boards.dataflow import simulate
from spikeloom_boards.dataflow_layers import dense, plain
from spikeloom_boards.dataflow_windows import conv, depthwise, pool
from spikeloom_hdl.layers.accumulators import Accumulators
from spikeloom_hdl.network import make_layer

sys.path.insert(0, str(Path(__file__).parent))
from gate_times import SET_BITS, in_gates, in_model, stream_of

CONV = ConvParameters(4, 8, Window(6, 6, 3, 3, 1, 1, 1, 1), 4, 4, 8, 20)
DENSE = DenseParameters(40, 16, 4, 4, 8, 20)
POOL = PoolParameters("max", 4, Window(6, 6, 2, 2, 2, 2), 4)
DEPTHWISE = DepthwiseParameters(8, Window(6, 6, 3, 3, 1, 1, 1, 1), 4, 4, 8, 20)


def fold(lanes, slices=1, scan=2, fire=1, **more):
    return Folding(lanes, slices, scan, fire, **more)


def vary(base, folding, **more):
    return dataclasses.replace(base, folding=folding, **more)


def processes(layer, words, links, out):
    spikes = SET_BITS[words[0] & 255]
    if isinstance(layer, ConvParameters):
        return conv(layer, spikes, links["i"], links.get("skip"), out)
    if isinstance(layer, DenseParameters):
        return dense(layer, spikes, links["i"], out)
    if isinstance(layer, DepthwiseParameters):
        return depthwise(layer, links["i"], out, len(spikes))
    if isinstance(layer, PoolParameters):
        return pool(layer, links["i"], out, len(spikes))
    return plain(layer, list(links.values()), out, len(spikes))


@pytest.mark.parametrize(
    "layer",
    [
        vary(CONV, fold(8, fire=2)),
        vary(CONV, fold(8, 2, 2, 4)),
        vary(CONV, fold(4, fire=2)),  # two passes
        vary(CONV, fold(8, fire=2, units=3)),
        vary(CONV, fold(8, fire=2, form="serial")),
        vary(CONV, fold(8, 1, 1, 1), channels=1, input_bits=8),
        vary(CONV, fold(8, fire=8), window=Window(6, 6, 1, 1)),
        vary(CONV, fold(8, fire=2), window=Window(7, 7, 3, 3, 2, 2, 1, 1)),
        vary(CONV, fold(8, fire=2), skip_bits=4, skip_weight_bits=6),
        vary(CONV, fold(8, fire=2), output_bits=0),
        vary(DENSE, fold(16, scan=8)),
        vary(DENSE, fold(8, 2, 8, 2)),
        vary(DENSE, fold(4, scan=8, form="serial")),
        vary(DENSE, fold(4, scan=8), output_bits=0),
        vary(POOL, fold(2)),
        vary(POOL, fold(2), window=Window(6, 6, 3, 3, 1, 1, 1, 1)),
        vary(POOL, fold(2), rule="average", output_bits=4, threshold=4, bias=2),
        vary(POOL, fold(2), rule="average", output_bits=4, threshold=5, bias=2),
        vary(DEPTHWISE, fold(4, scan=4, fire=2)),
        vary(DEPTHWISE, fold(4, scan=4, fire=1, multiplier="mult18x18d")),
        FireParameters(9, 7, 12, 4, folding=fold(2)),
        AddParameters(9, 7, 8, 4, 9, 14, 4, folding=fold(2)),
        AddParameters(9, 7, 2, 4, 9, 14, 4, folding=fold(2, multiplier="mult18x18d")),
        PadParameters(4, 4, 1, 2, 1, 2, 5, 4, folding=fold(2)),
    ],
    ids=lambda layer: layer.kind,
)
@pytest.mark.parametrize("pause", [0.0, 0.3, 0.8])
def test_every_transfer_leaves_in_the_cycle_that_the_model_says(layer, pause):
    generator = np.random.default_rng(7)
    streams, words = {}, []
    for name, port in zip(("i", "skip"), layer.ports_in, strict=False):
        top = 1 << (port.bits - port.signed)
        these = generator.integers(1, top, (2, port.pixels, port.channels))
        these[generator.random(these.shape) >= generator.uniform(0.1, 0.5)] = 0
        streams[name] = stream_of(port, these)
        words.append(these)
    outputs = 2 * layer.port_out.transfers
    taken, out = in_gates(make_layer(layer), streams, outputs, pause=pause)
    model_taken, model_out = in_model(
        lambda links, o: processes(layer, words, links, o), streams, outputs, pause=pause
    )
    start = min(cycles[0] for cycles in model_taken.values())
    assert [cycle - start for cycle in model_out] == out
    if isinstance(layer, (ConvParameters, DenseParameters)) and layer.folding.form == "packed":
        assert model_taken["i"] == taken["i"]


@pytest.mark.parametrize(
    "layer",
    [
        vary(CONV, fold(8, fire=2, units=2)),
        vary(CONV, fold(4, 2, 2, 1), input_bits=8),
        vary(CONV, fold(8, 1, 2, 1, multiplier="mult18x18d")),
        vary(DENSE, fold(16, 4, 8, 2), weight_bits=4),
        vary(DENSE, fold(1, form="serial"), outputs=40),
    ],
)
def test_constants_are_those_of_the_gates(layer):
    scanner = make_layer(layer)
    lists = getattr(scanner, "scanners", None)
    lists = lists[0].lists if lists else scanner.potentials.scanner.lists
    gates = Accumulators(layer, lists)
    assert skew(layer) == gates.skew
    assert groups(layer) == len(gates.groups)
    assert queue_depth(layer) == gates.queue_depth
    assert [spacing(layer, rows) for rows in (1, 5)] == [gates.spacing(rows) for rows in (1, 5)]


def test_events_of_windows_are_counted_as_seen():
    spikes = np.zeros((1, 9, 2), dtype=np.uint8)
    spikes[0, 4] = (3, 1)  # the middle pixel of 3 x 3
    spikes[0, 0, 0] = 2
    window = Window(3, 3, 2, 2)
    assert window_events(window, spikes, 1, "packed")[0].tolist() == [[4, 3], [3, 3]]
    assert window_events(window, spikes, 1, "serial")[0].tolist() == [[7, 5], [5, 5]]
    assert window_events(window, spikes, 2, "packed")[0].tolist() == [[3, 2], [2, 2]]


@pytest.mark.parametrize(
    ("layer", "cycles"),
    [
        (vary(DENSE, fold(16, scan=8)), 41),
        (vary(DENSE, fold(16, 2, 8)), 16 + 4 + 3 + 1),  # drain and skew
        (vary(DENSE, fold(4, scan=8)), 4 * 41),
        (vary(POOL, fold(2)), 72),
        (vary(POOL, fold(2), window=Window(6, 6, 3, 3, 1, 1, 1, 1)), 2 * 16 * 16),
    ],
)
def test_a_layer_by_itself_takes_what_its_gates_state(layer, cycles):
    words = np.ones((1, layer.ports_in[0].pixels, layer.ports_in[0].channels), dtype=np.uint8)
    assert LayerTimes(words).of(layer).tolist() == [cycles]


def chain():
    first = vary(CONV, fold(8, fire=2))
    pooled = dataclasses.replace(POOL, channels=8, folding=fold(2))
    last = DenseParameters(72, 10, 4, 0, 8, 20, folding=fold(10, scan=2), pixels=9)
    return NetworkParameters((first, pooled, last))


def test_the_worst_data_bounds_all_others():
    network = chain()
    worst = simulate(network, full(network).repeated(3))
    for density in (0.1, 0.5, 0.9):
        usual = simulate(network, assumed(network, first=density, later=density))
        assert usual.interval <= worst.ends[-1] - worst.ends[-2]
        assert usual.ends[0] <= worst.ends[0]


def test_a_network_is_no_faster_than_its_slowest_layer():
    network = chain()
    activity = assumed(network).repeated(2)
    each = [
        LayerTimes(words).of(layer).mean()
        for layer, words in zip(network.layers, activity.spikes, strict=True)
    ]
    assert simulate(network, activity).interval >= 0.95 * max(each)


def test_a_buffer_that_is_too_small_is_found():
    window = Window(6, 6, 3, 3, 1, 1, 1, 1)
    network = NetworkParameters(
        (
            ConvParameters(2, 2, window, 4, 4, 8, 20, folding=fold(2, fire=2)),
            ConvParameters(2, 2, window, 4, 4, 8, 20, folding=fold(2, fire=2)),
            AddParameters(36, 2, 4, 4, 4, 12, 4, folding=fold(2)),
            DenseParameters(72, 4, 4, 0, 8, 20, folding=fold(4), pixels=36),
        ),
        ((-1,), (0,), (1, 0), (2,)),
    )
    activity = assumed(network)
    assert simulate(network, activity).interval > 36
    network.__dict__["buffers"] = ()
    with pytest.raises(SpikeloomError, match="stands still"):
        simulate(network, activity)


def test_activity_is_laid_out_as_streams_are():
    network = chain()
    some = assumed(network, first=0.25, later=0.5)
    assert [None if s is None else s.shape for s in some.spikes] == [(4, 36, 4), None, (4, 9, 8)]
    assert some.densities[0] == pytest.approx(0.25, abs=0.05)
    assert some.densities[2] == pytest.approx(0.5, abs=0.1)
    assert isinstance(some.sample(1), Activity)
    assert full(network).densities == (1.0, None, 1.0)
