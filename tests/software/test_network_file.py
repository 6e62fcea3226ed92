from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from spikeloom.errors import NetworkFileError
from spikeloom.network import Dense, Flatten, Network, Readout


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
    from safetensors import safe_open

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


def test_another_version_is_refused(path):
    tamper(path, lambda g: g.update(version=2))
    assert "version 2, this Spikeloom reads 1" in refused(path)


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
