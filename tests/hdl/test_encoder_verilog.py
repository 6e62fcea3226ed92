"""Encoder cores as Verilog: other tools read them alone, the header documents all of them."""

import dataclasses
import functools
import os
import re
import subprocess

import pytest
from spikeloom.errors import InputError
from spikeloom.hardware import encoders as hardware
from spikeloom.hardware.encoders import CoreParameters
from spikeloom_boards.toolchain import find_tool, verilator_environment
from spikeloom_hdl.catalogue import CORES
from spikeloom_hdl.catalogue.encoders import (
    ENCODER_CORES,
    encoder_parameters,
    gaussian_responses,
    parameter_class,
)
from spikeloom_hdl.verilog import core_verilog


def header(text):
    lines = []
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].strip())
    return " ".join(lines)


def named(name):
    return f"spikeloom_{name.replace('-', '_')}"


@functools.cache
def text_of(name):
    return core_verilog(name, ["channels=5"])


def test_every_encoder_of_the_hardware_package_is_in_the_catalogue():
    kinds = [value for value in vars(hardware).values() if isinstance(value, type)]
    names = {k.NAME for k in kinds if issubclass(k, CoreParameters) and hasattr(k, "NAME")}
    assert names - {"hough-spiker"} <= set(ENCODER_CORES)  # the only one without gates
    assert set(ENCODER_CORES) <= set(CORES)
    for name in ENCODER_CORES:
        assert parameter_class(name).NAME == name


@pytest.mark.parametrize("name", ENCODER_CORES)
def test_verilator_reads_a_file_alone(name, tmp_path):
    (tmp_path / "core.v").write_text(text_of(name))
    flags = ("--lint-only", "-Wno-lint", "-Wno-style", "--top-module", named(name))
    done = subprocess.run(
        [*find_tool("verilator").command, *flags, "core.v"],
        cwd=tmp_path, env={**os.environ, **verilator_environment()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_yosys_reads_every_file_alone(tmp_path):
    commands = []
    for name in ENCODER_CORES:
        (tmp_path / f"{named(name)}.v").write_text(text_of(name))
        commands += [f"read_verilog {named(name)}.v", f"hierarchy -check -top {named(name)}"]
        commands += ["proc", "check -assert", "design -reset"]
    (tmp_path / "all.ys").write_text("\n".join(commands))
    done = subprocess.run(
        [*find_tool("yosys").command, "-q", "all.ys"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ENCODER_CORES)
def test_the_header_documents_the_core(name):
    text = text_of(name)
    top = header(text)
    declared = re.search(rf"^module {named(name)}\((.*?)\);", text, re.M)
    assert declared is not None
    for port in declared[1].split(", "):
        assert re.search(rf"(input|output) +(\[\d+:0\] )?{port}\b", top), port
    parameters = encoder_parameters(name, {"channels": 5})
    for field in parameters.fields:
        limits = rf"{field.low}\.\.{field.high}; \(?{field.default}"
        assert re.search(rf"{field.name}: {field.bits} bits, [^;]*, {limits}", top), field.name
        assert f"{field.name}" in top[top.index("p__payload") :]
    assert re.search(r"Rate: .* cycles?, .*Latency: \d+ cycles", top)
    taps = re.search(r"Filter: .* two's complement: ([-\d, ]+)\.", top)
    assert (taps is not None) == hasattr(parameters, "taps")
    if taps is not None:
        assert len(taps[1].split(", ")) == parameters.taps
    rule = " ".join((type(parameters).__doc__ or "").split())
    assert rule in " ".join(top.split())
    for field in dataclasses.fields(parameters):
        shown = "width" if field.name == "format" else field.name
        assert re.search(rf"Settings: .*\b{shown}=", top) or field.name == "table"
    if hasattr(parameters, "format"):
        width, fraction = parameters.format.width, parameters.format.fraction
        assert f"Samples: {width} bits, two's complement; the integer n stands for" in top
        assert f"n * 2^-{fraction}" in top
    assert "`first` and `last` mark the first and the last transfer of a frame" in top


def test_settings_reach_the_core():
    text = core_verilog("step-forward", ["width=12", "channels=64", "levels=2", "output=events"])
    top = header(text)
    assert "[11:0] sample: two's complement" in top
    assert "n * 2^-11" in top
    assert re.search(r"\[\d+:\d+\] time", top)
    assert "n * 2^-3." in header(core_verilog("pwm", ["width=12", "fraction=3"]))
    assert "boundaries=3,2,0" in header(
        core_verilog("latency", ["bits=2", "steps=3", "boundaries=3,2,0"])
    )
    split = core_verilog("observation", ["split=true"])
    assert "split=true" in header(split)
    rows = "/".join(["1,2,3,4", "5,6,7,0"])
    small = encoder_parameters(
        "population", {"bits": 2, "neurons": 2, "table": ((1, 2, 3, 4), (5, 6, 7, 0))}
    )
    assert small.table == ((1, 2, 3, 4), (5, 6, 7, 0))
    assert f"table={rows}" in header(
        core_verilog("population", ["bits=2", "neurons=2", f"table={rows}"])
    )


def test_receptive_fields_are_gaussian():
    table = gaussian_responses(8, 3, 8)
    assert (table[0][0], table[1][127], table[2][255]) == (255, 255, 255)
    # the distance of two centres is one standard deviation
    assert table[0][255] == round(255 * 2.718281828459045**-2)
    assert all(a >= b for a, b in zip(table[0], table[0][1:], strict=False))


@pytest.mark.parametrize(
    ("core", "option", "message"),
    [
        ("step-forward", "channels=0", "step-forward: channels must be an integer in 1..1024"),
        ("step-forward", "width=25", "step-forward: width must be an integer in 4..24, not 25"),
        ("pwm", "fraction=40", "pwm: the format's fraction must be in 1..32, not 40"),
        ("pwm", "fraction=width+1", "pwm: fraction must be an integer or width-N, not 'width+1'"),
        ("lif", "reset=never", "lif: reset must be one of ('zero', 'subtract'), not 'never'"),
        ("pwm", "bipolar=maybe", "pwm: bipolar takes true or false, not 'maybe'"),
        ("latency", "boundaries=1,x", "latency: boundaries takes whole numbers with commas"),
        ("latency", "boundaries=1,2", "latency: boundaries must be 8 numbers"),
        ("population", "table=1,2/3,4", "population: table must be 8 rows of 256 responses"),
        ("rate", "threshold=1", "rate has no setting 'threshold=1'; it has channels=1,"),
    ],
)
def test_wrong_settings_are_one_line(core, option, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        core_verilog(core, [option])
    assert "\n" not in str(caught.value)
