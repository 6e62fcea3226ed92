"""The command line as a newcomer meets it: one line for a mistake, no traceback, exit code 1."""

import json
import os
import select
import subprocess
import sys
import threading
import tty

import numpy as np
import pytest
from spikeloom import shipped
from spikeloom.cli import main


def spikeloom(*arguments: str) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "spikeloom.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def fails(capsys, *arguments: str) -> str:
    """Run a command that must fail with code 1; its only output, one line on the error stream."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_help_lists_the_commands():
    done = spikeloom("--help")
    assert done.returncode == 0
    for command in ("demo", "convert", "inspect", "verilog", "build", "run", "boards", "doctor"):
        assert command in done.stdout


def test_inspect_shows_a_shipped_network(capsys):
    main_ok("inspect", "mnist-mlp")
    text = capsys.readouterr().out
    assert "784 > 128" in text
    assert "128 > 10" in text
    assert "8 > 4" in text


def main_ok(*arguments: str) -> None:
    """Run a command in this process that must succeed."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code in (0, None)


def test_boards_and_doctor(capsys):
    main_ok("boards")
    text = capsys.readouterr().out
    for name in ("ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f", "icebreaker"):
        assert name in text
    main_ok("doctor")
    text = capsys.readouterr().out
    assert "yosys" in text
    assert "verilator" in text


def test_a_missing_network_names_what_there_is(capsys):
    text = fails(capsys, "inspect", "nonsense")
    assert "no network 'nonsense'" in text
    assert "mnist-mlp" in text


def test_a_truncated_network_file(capsys, tmp_path):
    whole = tmp_path / "whole.spikeloom"
    shipped.open_network("mnist-mlp").save(whole)
    cut = tmp_path / "cut.spikeloom"
    cut.write_bytes(whole.read_bytes()[:-100])
    assert "cut.spikeloom" in fails(capsys, "inspect", str(cut))


def test_an_unknown_board(capsys):
    text = fails(capsys, "build", "mnist-mlp", "--board", "toaster")
    assert "toaster" in text
    assert "ulx3s-85f" in text


def test_fixed_weights_that_cannot_be(capsys):
    text = fails(capsys, "verilog", "fire", "--fixed-weights")
    assert "--fixed-weights is for networks" in text
    # at 8 bits its weights only fit the SPRAM of this board, which holds nothing from the start
    text = fails(capsys, "build", "mnist-mlp", "--board", "icebreaker", "--fixed-weights")
    assert "block RAMs are missing" in text


def test_a_wrong_input_shape(capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 27, 28), dtype=np.uint8))
    text = fails(capsys, "run", "mnist-mlp", str(tmp_path / "x.npy"))
    assert "28" in text


def test_a_port_that_is_not_there(capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 28, 28), dtype=np.uint8))
    text = fails(
        capsys, "run", "mnist-mlp", str(tmp_path / "x.npy"), "--device", "/dev/no-such-port"
    )
    assert "/dev/no-such-port" in text


@pytest.mark.parametrize("steps", ["x", "9", "0", "4,", "1,2,16"])
def test_steps_out_of_range(capsys, tmp_path, steps):
    out = str(tmp_path / "o")
    text = fails(capsys, "convert", "m.py:f", "--data", "mnist", "-o", out, "--steps", steps)
    assert "from 1 to 8" in text


def test_an_unsupported_model_lists_every_layer(capsys, tmp_path):
    (tmp_path / "m.py").write_text(
        "from torch import nn\n"
        "def f():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.Tanh(),"
        " nn.Sequential(nn.LSTM(8, 4)), nn.Linear(8, 2))\n"
    )
    model, out = f"{tmp_path / 'm.py'}:f", str(tmp_path / "o.spikeloom")
    with pytest.raises(SystemExit) as stop:
        main(["convert", model, "--data", "mnist", "-o", out])
    assert stop.value.code == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert "Traceback" not in text
    for wanted in ("Tanh", "LSTM", "3.0"):
        assert wanted in text


def rewritten(tmp_path, change) -> str:
    """A shipped network's file with its arrays and its graph changed."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    whole = tmp_path / "whole.spikeloom"
    shipped.open_network("mnist-mlp").save(whole)
    with safe_open(whole, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata())
    graph = json.loads(metadata["spikeloom"])
    change(arrays, graph)
    metadata["spikeloom"] = json.dumps(graph)
    path = tmp_path / "changed.spikeloom"
    save_file(arrays, path, metadata=metadata)
    return str(path)


def other_version(arrays, graph):
    graph["version"] = 99


def wrong_shape(arrays, graph):
    arrays["1.weight"] = arrays["1.weight"][:, :-1].copy()


def not_a_number(arrays, graph):
    arrays["1.output_scale"] = np.full_like(arrays["1.output_scale"], np.nan)


def out_of_range(arrays, graph):
    arrays["1.threshold"] = np.full_like(arrays["1.threshold"], 1 << 20)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_version, ("version", "99")),
        (wrong_shape, ("784", "783")),
        (not_a_number, ("output_scale",)),
        (out_of_range, ("threshold", "65535")),
    ],
)
def test_a_wrong_network_file(capsys, tmp_path, change, words):
    text = fails(capsys, "inspect", rewritten(tmp_path, change))
    assert "changed.spikeloom" in text
    for word in words:
        assert word in text


def test_outputs_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    text = fails(capsys, "verilog", "fire", "-o", str(tmp_path / "file" / "x.v"))
    assert str(tmp_path / "file") in text
    text = fails(capsys, "verilog", "fire", "-o", str(tmp_path))
    assert "--out takes the name of a file" in text


def test_a_missing_tool(capsys, monkeypatch):
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    text = fails(capsys, "build", "mnist-mlp", "--board", "icebreaker")
    assert "no-such-yosys" in text


def test_a_board_that_answers_garbage_or_nothing(capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 28, 28), dtype=np.uint8))
    for noise, words in ((b"", "no board answers"), (b"hello\0" * 9, "garbage")):
        host, board = os.openpty()
        tty.setraw(board)
        stop = threading.Event()
        chatter = threading.Thread(target=answer, args=(host, noise, stop))
        chatter.start()
        try:
            text = fails(
                capsys, "run", "mnist-mlp", str(tmp_path / "x.npy"), "-d", os.ttyname(board)
            )
        finally:
            stop.set()
            chatter.join()
            os.close(host)
            os.close(board)
        assert words in text


def answer(host: int, noise: bytes, stop: threading.Event) -> None:
    """Answer whatever comes with noise."""
    while not stop.is_set():
        if select.select([host], [], [], 0.05)[0]:
            os.read(host, 4096)
            os.write(host, noise)


def test_verilog_of_a_core_and_of_a_network(capsys, tmp_path):
    main_ok("verilog", "fire", "-o", str(tmp_path / "fire.v"))
    main_ok("verilog", "mnist-mlp", "--board", "icebreaker", "-o", str(tmp_path / "net.v"))
    fire, net = (tmp_path / "fire.v").read_text(), (tmp_path / "net.v").read_text()
    assert fire.startswith("//")
    assert "Latency" in fire[:4000]
    assert "module spikeloom_fire" in fire
    assert "module mnist_mlp" in net
    assert "load__address" in net
    text = fails(capsys, "verilog", "fires")
    assert "fire" in text


def test_verilog_of_an_encoder(capsys, tmp_path):
    out = tmp_path / "sf.v"
    main_ok("verilog", "step-forward", "--channels", "8", "--width", "12", "-o", str(out))
    text = out.read_text()
    assert "module spikeloom_step_forward(" in text
    assert "channels=8" in text[:6000]
    assert "[11:0] sample" in text[:6000]
    text = fails(capsys, "verilog", "step-forward", "--channels", "2000")
    assert "channels must be an integer in 1..1024, not 2000" in text
    text = fails(capsys, "verilog", "step-forward", "--width", "16", "--set", "width=12")
    assert "step-forward: width is given twice, 16 and 12; give it once" in text
    text = fails(capsys, "verilog", "rate", "--width", "8")
    assert "rate has no setting 'width=8'; it has channels=1" in text
    text = fails(capsys, "verilog", "mnist-mlp", "--channels", "8")
    assert "not for a network" in text
