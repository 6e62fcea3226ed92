"""What a run shows: counts are those of plain loops, tables and the picture hold them."""

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from spikeloom.golden import Trace, trace_words
from spikeloom.study.trace_picture import draw_trace
from spikeloom.study.trace_table import BufferRecord, TraceRecord, buffer_table, layer_table
from spikeloom_sim.random_network import random_conv_network, random_words


@pytest.fixture(scope="module")
def network():
    blocks = ["skip", "maxfire", "dense"]
    return random_conv_network(2, blocks=blocks, shape=(2, 7, 6), channels=4)


@pytest.fixture(scope="module")
def words(network):
    return random_words(network, 9, seed=1)


@pytest.fixture
def record(network, words):
    """Of two batches; the hardware is the golden model itself."""
    made = TraceRecord(network, buffers={"fifo_1_1": BufferRecord("fifo_1_1", "a", "b", 5, 4, 3)})
    for start, some in ((0, words[:4]), (4, words[4:])):
        golden = trace_words(network, some)
        made.see(some, golden, golden, start)
    for layer in made.layers[1:]:
        layer.busy, layer.held, layer.starved = 900, 90, 9
    made.interval = 120.0
    return made


def text(table) -> str:
    console = Console(record=True, width=140)
    console.print(table)
    return console.export_text()


def test_counts_are_those_of_the_golden_trace(network, words, record):
    assert record.samples == 9
    given = [words.reshape(9, *network.input_shape)]
    given += [trace.words for trace in trace_words(network, words)]
    assert [layer.name for layer in record.layers] == ["input", *(o.name for o in network.layers)]
    for layer, found in zip(record.layers, given, strict=True):
        if found is None:
            assert (layer.words, layer.bits, layer.pixels) == (0, 0, None)
            continue
        flat = [int(w) for w in found.reshape(-1)]
        assert layer.nonzero == sum(w > 0 for w in flat)
        assert layer.steps.tolist() == [
            sum(w >> layer.bits - 1 - t & 1 for w in flat) for t in range(layer.bits)
        ]
        if layer.pixels is not None:
            assert layer.pixels.sum() == layer.steps.sum()
            column = [int(w).bit_count() for w in found[:, :, 0, 1].reshape(-1)]
            assert layer.pixels[0, 1] == sum(column)
    assert record.differing == 0
    traces = trace_words(network, words)
    values = sum(v.size for t in traces for v in (t.potentials, t.words) if v is not None)
    assert record.compared == values
    assert record.verdict() == f"all {values:,} values equal"


def test_a_difference_keeps_its_sample_over_batches(network, words, record):
    golden = trace_words(network, words[:3])
    wrong = [Trace(golden[0].name, golden[0].potentials.copy(), None)]
    wrong[0].potentials[2, 0, 1, 1] += 1
    for start in (20, 10, 30):
        record.see(words[:3], golden, wrong, start)
    assert record.difference.sample == 12
    assert record.differing == 3
    assert record.verdict().startswith("3 of ")
    assert "sample 12: layer" in record.verdict()
    assert "3" in text(layer_table(record))


def test_tables_show_what_was_counted(record):
    layers = text(layer_table(record, "the title"))
    assert "the title" in layers
    for layer in record.layers:
        line = next(row for row in layers.splitlines() if row.strip().startswith(layer.name))
        assert "x".join(map(str, layer.shape)) in line
        if layer.words:
            assert f"{100 * layer.density:.1f} %" in line
            assert " ".join(f"{n / 9:,.0f}" for n in layer.steps if n >= 90) in line
        if layer.busy is not None:
            assert line.rstrip().endswith("100")
    buffers = text(buffer_table(record)).split()
    assert buffers[-6:] == ["fifo_1_1", "a", "b", "5", "4", "3"]


def test_the_picture_is_drawn(record, tmp_path):
    draw_trace(record, tmp_path / "trace.png", "a title")
    pixels = imread(tmp_path / "trace.png")
    assert pixels.shape[1] > 1000
    assert np.ptp(pixels[..., :3]) > 0.9
