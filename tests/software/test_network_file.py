from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from spikeloom.errors import AccumulatorOverflowError, NetworkFileError
from spikeloom.network import Dense, Flatten, Network, Readout
from spikeloom.shipped import open_network
from spikeloom_sim.random_network import random_conv_network


@pytest.fixture
def network() -> Network:
    rng = np.random.default_rng(0)
    return Network(
        [
            Flatten("0"),
            Dense(
                "1",
                weight=rng.integers(-127, 128, (6, 8)),
                bias=rng.integers(-9, 9, 6),
                input_bits=5,
                weight_bits=8,
                accumulator_bits=20,
                threshold=rng.integers(1, 999, 6),
                output_bits=3,
                output_scale=rng.uniform(0.1, 1, 6),
            ),
            Readout(
                "2",
                weight=rng.integers(-7, 8, (4, 6)),
                bias=rng.integers(-9, 9, 4),
                input_bits=3,
                weight_bits=4,
                accumulator_bits=12,
                logit_scale=0.1,
            ),
        ],
        (2, 4),
        5,
        {"made by": "a test", "ünïcode": "✓"},
    )


@pytest.fixture
def path(network, tmp_path):
    file = tmp_path / "net.spikeloom"
    network.save(file)
    return file


def refused(path) -> str:
    """The message of the refusal: one line that names the file."""
    with pytest.raises(NetworkFileError) as caught:
        Network.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def tamper(path, graph=None, arrays=None, drop=()):
    """Write the file again with changes to the graph (a function) and the arrays."""
    content = load_file(path)
    with safe_open(path, framework="numpy") as file:
        tree = json.loads(file.metadata()["spikeloom"])
    content.update(arrays or {})
    for name in drop:
        del content[name]
    if graph is not None:
        graph(tree)
    save_file(content, path, metadata={"spikeloom": json.dumps(tree)})


def test_round_trip(network, path):
    back = Network.load(path)
    assert (back.input_shape, back.input_bits, back.metadata) == (
        network.input_shape,
        network.input_bits,
        network.metadata,
    )
    assert [type(op) for op in back.ops] == [Flatten, Dense, Readout]
    for a, b in zip(network.layers, back.layers, strict=True):
        for field in ("weight", "bias", "threshold"):
            x, y = getattr(a, field), getattr(b, field)
            assert (x is None and y is None) or (x.dtype == y.dtype and x.tolist() == y.tolist())
        for field in ("name", "input_bits", "output_bits", "weight_bits", "accumulator_bits"):
            assert getattr(a, field) == getattr(b, field)
    dense = back.layers[0]
    assert isinstance(dense, Dense)
    assert dense.output_scale.tolist() == network.layers[0].output_scale.tolist()  # type: ignore
    images = np.random.default_rng(1).integers(0, 256, (9, 2, 4), dtype=np.uint8)
    assert back.run(images).tolist() == network.run(images).tolist()


def test_loading_imports_no_torch(path):
    code = (
        "import sys; from spikeloom.network import Network;"
        f"net = Network.load({str(path)!r}); net.check_accumulators();"
        "net.encode(__import__('numpy').zeros((2, 4), 'uint8'));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_file(tmp_path):
    assert "no such file" in refused(tmp_path / "none.spikeloom")


def test_every_truncation_is_refused(path):
    whole = path.read_bytes()
    cut = path.with_name("cut.spikeloom")
    for length in [0, 1, 7, 8, 9, *range(10, len(whole), 37), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        assert "cut short" in refused(cut)


def test_any_changed_byte_loads_soundly_or_is_refused(path):
    """Whatever the damage: a checked network, or the one error; never anything else."""
    whole = path.read_bytes()
    damaged = path.with_name("damaged.spikeloom")
    rng = np.random.default_rng(5)
    outcomes = set()
    for _ in range(400):
        data = bytearray(whole)
        at = int(rng.integers(0, len(data)))
        data[at] = int(rng.integers(0, 256))
        damaged.write_bytes(data)
        try:
            Network.load(damaged)
            outcomes.add("loaded")
        except NetworkFileError as error:
            outcomes.add("refused" if "\n" not in str(error) else str(error))
    assert outcomes == {"loaded", "refused"}


def test_other_files_are_refused(tmp_path):
    text = tmp_path / "text.spikeloom"
    text.write_text("not a network\n" * 10)
    assert "no network" in refused(text)
    other = tmp_path / "other.spikeloom"
    save_file({"weight": np.zeros(3)}, other)
    assert "not a Spikeloom network" in refused(other)


@pytest.mark.parametrize("version", [0, 3, "2", None, True, 1.5, [2]])
def test_another_version_is_refused(path, version):
    tamper(path, lambda g: g.update(version=version))
    assert f"version {version!r}, this Spikeloom reads 1 to 2" in refused(path)


def first_version(graph) -> None:
    """What version 1 wrote: ops without a source."""
    graph["version"] = 1
    for op in graph["ops"]:
        del op["source"]


def test_the_first_version_is_read(network, path):
    tamper(path, first_version)
    equal(Network.load(path), network)


def test_the_first_version_knows_no_convolution(tmp_path):
    path = tmp_path / "net.spikeloom"
    random_conv_network(0, blocks=["conv"]).save(path)
    tamper(path, lambda g: g.update(version=1))
    assert "unknown op 'conv2d'" in refused(path)


def test_shipped_networks_load():
    for name in ("mnist-mlp", "fashion-mlp"):
        assert open_network(name).classes == 10


def equal(a: Network, b: Network) -> None:
    """Every op of the same type, every field of the same type and value."""
    assert (a.input_shape, a.input_bits, a.metadata) == (b.input_shape, b.input_bits, b.metadata)
    for x, y in zip(a.ops, b.ops, strict=True):
        assert type(x) is type(y)
        for field in dataclasses.fields(x):
            u, v = getattr(x, field.name), getattr(y, field.name)
            assert type(u) is type(v), field.name
            if isinstance(u, np.ndarray):
                assert (u.dtype, u.tolist()) == (v.dtype, v.tolist())
            else:
                assert u == v, field.name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_network_survives_the_file(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("file") / "net.spikeloom"
    network = random_conv_network(seed)
    network.save(path)
    equal(Network.load(path), network)


def every_op(path) -> Network:
    """Write a network with every op; the names of its ops tell which is which."""
    network = random_conv_network(
        8, blocks=["pad", "avgpool", "project", "add", "depthwise", "maxfire", "dense"],
        shape=(3, 6, 6),
    )  # fmt: skip
    assert len({op.kind for op in network.ops}) == 9
    network.save(path)
    return network


JUNK = [None, True, -1, 0, 3, 1 << 40, 1.5, "", "x", "input", [], [1], [1, 1], [1, "a"], {}, [[1]]]


def test_hostile_values_are_refused_or_sound(tmp_path):
    """Every field of every op set to junk: a sound network, or one line; never anything else."""
    path = tmp_path / "net.spikeloom"
    network = every_op(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    loaded = bad = 0
    with safe_open(path, framework="numpy") as file:
        graph = json.loads(file.metadata()["spikeloom"])
    for index, op in enumerate(graph["ops"]):
        for key in op:
            for pick in rng.choice(len(JUNK), 5, replace=False):
                path.write_bytes(whole)
                tamper(path, lambda g, i=index, k=key, v=JUNK[pick]: g["ops"][i].update({k: v}))
                try:
                    Network.load(path).run(np.zeros((1, network.inputs), np.uint8))
                    loaded += 1
                except NetworkFileError as error:
                    bad += "\n" in str(error) or not str(error).startswith(str(path))
                except AccumulatorOverflowError:
                    loaded += 1
    assert loaded > 10
    assert not bad


def test_hostile_arrays_are_refused_or_sound(tmp_path):
    path = tmp_path / "net.spikeloom"
    network = every_op(path)
    whole, content, bad = path.read_bytes(), load_file(path), 0
    for key, array in content.items():
        for junk in (
            np.zeros(0, np.int64),
            array.astype(np.float32),
            array.astype(np.bool_),
            np.full(array.shape, 1 << 62, np.int64),
            array[:-1],
            array[None],
            np.array(3),
        ):
            path.write_bytes(whole)
            tamper(path, arrays={key: np.ascontiguousarray(junk)})
            try:
                Network.load(path).run(np.zeros((1, network.inputs), np.uint8))
            except NetworkFileError as error:
                bad += "\n" in str(error)
        path.write_bytes(whole)
        tamper(path, drop=[key])
        if not key.endswith("skip_weight"):  # without it a skip weighs one
            refused(path)
    assert not bad


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"source": 3}, "source must be the name of an op, not 3"),
        ({"source": "nowhere"}, "takes 'nowhere', which is no op before it"),
        ({"source": ["a"]}, "source must be the name of an op, not ('a',)"),
        ({"weight": [1]}, "'weight' is no array"),
        ({"threshold": None}, "'threshold' is no array"),
        ({"stride": [1, 2, 3]}, "stride must be one or two integers in 1..255"),
        ({"stride": [0, 1]}, "stride must be one or two integers"),
        ({"stride": [True, 1]}, "stride must be one or two integers"),
        ({"padding": [9, 9]}, "padding 9 must be smaller than the kernel"),
        ({"groups": 1.0}, "groups must be an integer"),
        ({"groups": 2}, "groups must be 1, or the number of input and output channels"),
        ({"output_bits": 0}, "without output_bits it does not fire"),
        ({"skip": "input"}, "skip_bits must be an integer in 1..8, not 0"),
        ({"skip_bits": 4}, "need a skip"),
        ({"skip": "input", "skip_bits": 4, "skip_signed": 1}, "skip_signed must be True or False"),
        ({"input_bits": 7}, "takes words of 7 bits, it is given"),
    ],
)
def test_a_tampered_convolution_is_refused(tmp_path, change, match):
    path = tmp_path / "net.spikeloom"
    random_conv_network(2, blocks=["conv"], shape=(3, 6, 6), bits=4).save(path)
    tamper(path, lambda g: g["ops"][0].update(change))
    assert match in refused(path)


def op_field(index, **changes):
    return lambda g: g["ops"][index].update(changes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"arrays": {"1.weight": np.zeros((5, 8), np.int8)}}, "bias has shape (6,)"),
        ({"arrays": {"1.weight": np.zeros((6, 9), np.int8)}}, "takes 9 words"),
        ({"arrays": {"1.weight": np.zeros(48, np.int8)}}, "expected (outputs, inputs)"),
        ({"arrays": {"1.weight": np.full((6, 8), -128, np.int8)}}, "allowed are -127..127"),
        ({"arrays": {"2.weight": np.full((4, 6), 8, np.int8)}}, "allowed are -7..7"),
        ({"arrays": {"1.weight": np.full((6, 8), np.nan)}}, "must be integers, not float64"),
        ({"arrays": {"1.threshold": np.zeros(6, np.int64)}}, "threshold holds 0..0"),
        ({"arrays": {"1.threshold": np.full(6, 1 << 16)}}, "allowed are 1..65535"),
        ({"arrays": {"1.bias": np.full(6, 1 << 40)}}, "bias holds"),
        ({"arrays": {"1.output_scale": np.full(6, np.nan)}}, "finite and above 0"),
        ({"arrays": {"9.weight": np.zeros(1)}}, "arrays that no op uses: ['9.weight']"),
        ({"drop": ["1.threshold"]}, "array '1.threshold' is missing"),
        ({"graph": op_field(0, op="conv9d")}, "unknown op 'conv9d'"),
        ({"graph": op_field(1, op="flatten")}, "unknown fields"),
        ({"graph": op_field(1, input_bits=9)}, "input_bits must be an integer in 1..8, not 9"),
        ({"graph": op_field(1, input_bits="5")}, "not '5'"),
        ({"graph": op_field(1, input_bits=True)}, "not True"),
        ({"graph": op_field(1, name=["x"])}, "missing"),
        ({"graph": op_field(2, logit_scale=float("nan"))}, "logit_scale"),
        ({"graph": op_field(2, logit_scale=None)}, "logit_scale"),
        ({"graph": op_field(1, colour="red")}, "unknown fields ['colour']"),
        ({"graph": lambda g: g["ops"][1].pop("output_bits")}, "'output_bits' is missing"),
        ({"graph": lambda g: g["ops"].append(3)}, "an op is not a JSON object"),
        ({"graph": lambda g: g["ops"].pop()}, "array"),
        ({"graph": lambda g: g.pop("ops")}, "ops is missing"),
        ({"graph": lambda g: g.update(input_shape="24")}, "input_shape is missing or not a list"),
        ({"graph": lambda g: g.update(input_shape=[2, 4.0])}, "positive integers"),
        ({"graph": lambda g: g.update(input_shape=[3, 4])}, "it is given 12 of 5"),
        ({"graph": lambda g: g.update(input_bits=None)}, "input_bits"),
        ({"graph": lambda g: g.update(metadata={"a": 1})}, "metadata"),
        ({"graph": lambda g: g.pop("metadata")}, "metadata is not a JSON object"),
    ],
)
def test_tampered_files_are_refused(path, change, match):
    tamper(path, **change)
    assert match in refused(path)


def test_a_graph_that_is_no_json_is_refused(path):
    for text in ("{", "[" * 100_000, "", "[]", "NaN"):
        save_file(load_file(path), path, metadata={"spikeloom": text})
        refused(path)
