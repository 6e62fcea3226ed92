"""The gates beside the golden model: all equal, or the first value that is wrong, by its place."""

import dataclasses
import re

import numpy as np
import pytest
from matplotlib.image import imread
from spikeloom import cli
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.memory_image import memory_image
from spikeloom.network import Network
from spikeloom_boards.activity import assumed
from spikeloom_boards.plan import Goal, describe
from spikeloom_boards.plan_file import write_plan
from spikeloom_boards.registry import board
from spikeloom_sim import trace
from spikeloom_sim.harness import CoreHarness, Stalls
from spikeloom_sim.random_network import random_conv_network, random_words, reference_trace
from spikeloom_sim.trace import run_trace

BOARD = "ulx3s-85f"


@pytest.fixture(scope="module")
def network():
    """A skip connection, potentials through a pool, an average."""
    blocks = ["conv", "same", "maxfire", "avgpool", "dense"]
    made = random_conv_network(11, blocks=blocks, shape=(2, 8, 7), channels=4, weight_bits=6)
    assert [op.kind for op in made.layers] == [
        "conv2d", "conv2d", "conv2d", "maxpool2d", "fire", "avgpool2d", "dense", "readout",
    ]  # fmt: skip
    return made


@pytest.fixture(scope="module")
def parameters(network):
    two = Folding(lanes=2, scan=2, fire_lanes=2)
    foldings = [two] * len(network.layers)
    foldings[1] = Folding(lanes=4, slices=2, scan=2, fire_lanes=2, units=2)
    return network.parameters(foldings)


@pytest.fixture(scope="module")
def harness(parameters):
    return CoreHarness(parameters, name=f"core-{BOARD}")


@pytest.fixture(scope="module")
def words(network):
    return random_words(network, 12, seed=5)


@pytest.mark.parametrize("stalls", [None, Stalls(3, inside=0.25), Stalls(4, 0.8, 0.8, inside=0.75)])
def test_everything_is_compared_and_equal(network, parameters, harness, words, stalls):
    record = run_trace(network, parameters, words, harness=harness, stalls=stalls, batch=5, jobs=2)
    steps = reference_trace(network, words)
    shown = [v for s in steps for v in (s.potentials, s.words) if v is not None]
    # the logits too, as they left the core
    assert record.compared == sum(v.size for v in shown) + steps[-1].potentials.size
    assert (record.differing, record.difference, record.samples) == (0, None, 12)
    for layer, step in zip(record.layers[1:], steps, strict=True):
        if step.words is not None:
            bits = np.unpackbits(step.words.astype(np.uint8)).sum()
            assert (layer.nonzero, layer.steps.sum()) == (np.count_nonzero(step.words), bits)
    assert all(0 < b.most <= b.depth for b in record.buffers.values())
    assert record.buffers
    assert record.latency >= record.interval > 0


def altered(network, number, **fields):
    """The same network, but for some fields of one layer."""
    op = network.layers[number]
    new = dataclasses.replace(op, **fields)
    return Network(
        [new if o is op else o for o in network.ops], network.input_shape, network.input_bits
    )


@pytest.mark.parametrize(("number", "index"), [(0, (2, 1, 0, 0)), (1, (1, 0, 1, 1)), (6, (0, 5))])
def test_a_wrong_weight_is_named_where_it_first_shows(
    network, parameters, harness, words, number, index
):
    weight = network.layers[number].weight.copy()
    index = tuple(k % n for k, n in zip(index, weight.shape, strict=True))
    weight[index] += 1 if weight[index] <= 0 else -1
    wrong = altered(network, number, weight=weight)
    image = memory_image(wrong, parameters)
    record = run_trace(network, parameters, words, harness=harness, image=image)
    # what the definitions say: samples, then pixels in raster order
    good, bad = (reference_trace(n, words)[number].potentials for n in (network, wrong))
    sample = int((good != bad).reshape(len(words), -1).any(1).argmax())
    parted = good[sample] != bad[sample]
    assert np.argwhere(parted.reshape(len(parted), -1).any(1)).tolist() == [[index[0]]]
    place = tuple(int(k) for k in np.argwhere(parted[index[0]])[0])
    found = record.difference
    assert (found.layer, found.channel) == (network.layers[number].name, index[0])
    assert (found.sample, found.position, found.what) == (sample, place, "potential")
    at = (sample, index[0], *place)
    assert (found.expected, found.found) == (good[at], bad[at])
    before = record.layers[1 : number + 1]
    assert [layer.differing for layer in before] == [0] * number
    assert record.differing >= np.count_nonzero(good != bad)


@pytest.mark.parametrize("number", [0, 4])
def test_a_wrong_threshold_shows_in_the_words_alone(network, parameters, harness, words, number):
    op = network.layers[number]
    good = reference_trace(network, words)[number]
    channel = int((good.words > 0).sum((0, 2, 3)).argmax())
    threshold = op.threshold.copy()
    threshold[channel] = max(1, int(threshold[channel]) // 2)
    wrong = altered(network, number, threshold=threshold)
    record = run_trace(
        network, parameters, words, harness=harness, image=memory_image(wrong, parameters)
    )
    bad = reference_trace(wrong, words)[number].words
    found = record.difference
    at = (found.sample, channel, *found.position)
    assert (found.layer, found.channel, found.what) == (op.name, channel, "word")
    assert (found.expected, found.found) == (good.words[at], bad[at])
    changed = f"{found.expected ^ found.found:0{op.output_bits}b}"
    assert found.step == changed.index("1") + 1


def run(capsys, *arguments):
    """Run the command line; its exit code, what it printed, and what to the error stream."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


@pytest.fixture
def files(network, parameters, tmp_path):
    names = [op.name for op in network.layers]
    plan = describe(parameters, board(BOARD), Goal(), assumed(parameters), names)
    write_plan(plan, tmp_path / "plan.toml")
    network.save(tmp_path / "net.spikeloom")
    images = np.random.default_rng(1).integers(0, 256, (30, *network.input_shape), np.uint8)
    np.save(tmp_path / "images.npy", images)
    paths = [str(tmp_path / name) for name in ("net.spikeloom", "images.npy", "plan.toml")]
    return [*paths[:2], "--board", BOARD, "--plan", paths[2]]


def test_the_command(network, harness, files, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    picture = tmp_path / "new" / "trace.png"
    code, out, _ = run(
        capsys, "trace", *files, "--images", "7", "--stalls", "3", "--picture", str(picture)
    )
    assert code == 0
    assert "7 images" in out
    assert re.search(r"all \d[\d,]+ values equal", out)
    for op in network.layers:
        assert op.name in out
    assert "fifo_1_1" in out
    assert imread(picture).shape[1] > 1000


def test_the_command_names_what_is_wrong(network, harness, files, capsys, monkeypatch):
    bias = network.layers[2].bias.copy()
    bias[0] += 1
    wrong = altered(network, 2, bias=bias)
    monkeypatch.setattr(
        trace, "memory_image", lambda _, parameters: memory_image(wrong, parameters)
    )
    code, out, err = run(capsys, "trace", *files)
    assert code == 1
    assert f"sample 0: layer {network.layers[2].name!r}, channel 0, position (0, 0):" in err
    assert "values equal" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "/dev/ttyUSB0"), "only the simulation, 'sim', shows what is inside"),
        (("--picture", "."), "is a folder"),
    ],
)
def test_what_the_command_refuses(files, capsys, arguments, message):
    code, _, err = run(capsys, "trace", *files, *arguments)
    assert code == 1
    assert message in err
    assert err.count("\n") == 1
