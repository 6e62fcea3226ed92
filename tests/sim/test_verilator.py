"""Verilog to executable: built once, changed content is built anew, errors are one clear line."""

import concurrent.futures
import subprocess

import pytest
from spikeloom.errors import BuildError, ToolError
from spikeloom_sim import verilator
from spikeloom_sim.verilator import build_model

ADDER = """
module top(input clk, input [99:0] a, output reg [99:0] b);
  always @(posedge clk) b <= a + %d;
endmodule
"""
MAIN = """
#include "Vtop.h"
#include "verilated.h"
#include <cstdio>
int main() {
  VerilatedContext context;
  Vtop top{&context};
  for (int k = 0; k < 4; k++) top.a[k] = 0xffffffff;
  top.a[3] = 0xf;
  top.eval();
  top.clk = 1;
  top.eval();
  std::printf("%x %x", top.b[0], top.b[3]);
}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all, so that the run-time library is compiled once; each test has its own sum."""
    return tmp_path_factory.mktemp("cache")


def output(executable):
    return subprocess.run([executable], capture_output=True, text=True, check=True).stdout


def test_a_second_build_compiles_nothing(cache, monkeypatch):
    first = build_model(ADDER % 1, MAIN, name="adder", cache_dir=cache)
    assert output(first) == "0 0"
    real = verilator._run

    def refuse(*arguments):
        raise AssertionError("compiled again")

    monkeypatch.setattr(verilator, "_run", refuse)
    assert build_model(ADDER % 1, MAIN, name="adder", cache_dir=cache) == first
    monkeypatch.setattr(verilator, "_run", real)
    other = build_model(ADDER % 2, MAIN, name="adder", cache_dir=cache)
    assert other != first
    assert output(other) == "1 0"


@pytest.mark.parametrize(
    "change",
    [{"optimise": "-O0"}, {"assertions": True}, {"flags": ["-DX=1"]}, {"cpp": MAIN + "\n"}],
)
def test_everything_that_matters_is_in_the_key(cache, monkeypatch, change):
    class CompiledError(Exception):
        pass

    build_model(ADDER % 1, MAIN, name="adder", cache_dir=cache)

    def refuse(*arguments):
        raise CompiledError

    monkeypatch.setattr(verilator, "_run", refuse)
    settings = {"verilog": ADDER % 1, "cpp": MAIN, "name": "adder", "cache_dir": cache, **change}
    with pytest.raises(CompiledError):
        build_model(**settings)


def test_an_interrupted_build_leaves_nothing(cache, monkeypatch):
    real = verilator._run

    def interrupted(command, *rest):
        if command[0] == "make":
            raise KeyboardInterrupt
        return real(command, *rest)

    monkeypatch.setattr(verilator, "_run", interrupted)
    before = set(cache.iterdir())
    with pytest.raises(KeyboardInterrupt):
        build_model(ADDER % 3, MAIN, name="adder", cache_dir=cache)
    new = set(cache.iterdir()) - before
    assert [path.suffix for path in new] == [".lock"]
    monkeypatch.setattr(verilator, "_run", real)
    assert output(build_model(ADDER % 3, MAIN, name="adder", cache_dir=cache)) == "2 0"


def test_builds_of_the_same_thing_wait_for_each_other(cache, monkeypatch):
    real, runs = verilator._run, []

    def counted(command, *rest):
        runs.append(command[0])
        return real(command, *rest)

    monkeypatch.setattr(verilator, "_run", counted)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(build_model, ADDER % 4, MAIN, name="adder", cache_dir=cache)
            for _ in range(3)
        ]
        paths = {job.result() for job in jobs}
    assert len(paths) == 1
    assert len(runs) == 2  # Verilator once, make once


@pytest.mark.parametrize(
    ("verilog", "cpp", "tool"),
    [
        ("module top(input clk; endmodule", MAIN, "Verilator"),
        (ADDER % 1, MAIN + "}", "the C++ compiler"),
    ],
)
def test_errors_are_one_line_and_name_the_log(cache, verilog, cpp, tool):
    with pytest.raises(BuildError) as caught:
        build_model(verilog, cpp, name="broken", cache_dir=cache)
    message = str(caught.value)
    assert message.startswith(f"{tool} could not build broken: ")
    assert "rror" in message
    assert "\n" not in message
    assert str(cache / "broken.failed.log") in message
    assert (cache / "broken.failed.log").read_text()


def test_a_missing_compiler_is_named(cache, monkeypatch):
    monkeypatch.setattr(verilator.shutil, "which", lambda name: None)
    verilator._compiler.cache_clear()
    try:
        with pytest.raises(ToolError, match=r"a simulation needs a C\+\+ compiler"):
            build_model(ADDER % 1, MAIN, name="adder", cache_dir=cache)
    finally:
        verilator._compiler.cache_clear()
