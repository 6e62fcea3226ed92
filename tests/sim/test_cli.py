"""The command line as a newcomer meets it: one line for a mistake, no traceback, exit code 1."""

import subprocess
import sys

import numpy as np
import pytest
from spikeloom import shipped
from spikeloom.cli import main


def spikeloom(*arguments: str) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "spikeloom.cli", *arguments],
        capture_output=True, text=True, check=False, env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


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
    assert "readout" in text


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


def test_steps_that_are_no_numbers(capsys, tmp_path):
    text = fails(
        capsys, "convert", "m.py:f", "--data", "mnist", "-o", str(tmp_path / "o"), "--steps", "x"
    )
    assert "1,2,4,8" in text


def test_verilog_of_a_core_and_of_a_network(capsys, tmp_path):
    main_ok("verilog", "fire", "-o", str(tmp_path / "fire.v"))
    main_ok("verilog", "mnist-mlp", "--board", "icebreaker", "-o", str(tmp_path / "net.v"))
    fire, net = (tmp_path / "fire.v").read_text(), (tmp_path / "net.v").read_text()
    assert fire.startswith("//")
    assert "latency" in fire[:4000]
    assert "module spikeloom_fire" in fire
    assert "module mnist_mlp" in net
    assert "load__address" in net
    text = fails(capsys, "verilog", "fires")
    assert "fire" in text
