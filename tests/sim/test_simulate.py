"""``make sim``: benches pass, a failure shows its seed, a wrong name lists the right ones."""

import re

import pytest
from rich.console import Console
from spikeloom_sim import simulate as module
from spikeloom_sim.runner import Design
from spikeloom_sim.simulate import find_designs, main, simulate

BROKEN = """
module top(clk, rst, i__payload, i__valid, i__ready, o__payload, o__valid, o__ready);
  input clk, rst;
  input [17:0] i__payload;
  input i__valid;
  output i__ready;
  output reg [4:0] o__payload;
  output reg o__valid;
  input o__ready;
  assign i__ready = 1;
  always @(posedge clk) begin
    o__valid <= i__valid & ~rst;
    o__payload <= i__payload[4:0];
  end
endmodule
"""


def test_fire_under_back_pressure(tmp_path):
    """10^5 words, no mismatch; and the table says so."""
    console = Console(record=True, width=160)
    outcomes = simulate("fire/3x6", seed=7, out_dir=tmp_path, console=console)
    assert all(outcome.passed for outcome in outcomes)
    text = console.export_text()
    assert "100002 words, 0 transfers differ" in text
    assert "seed 7" in text
    assert "FAILED" not in text


@pytest.mark.parametrize("name", ["dense/mult18x18d", "network/sb_mac16-spram"])
def test_layers_with_vendor_cells(name, tmp_path):
    outcomes = simulate(name, seed=11, out_dir=tmp_path, console=Console(record=True, width=160))
    assert len(outcomes) == (8 if name.startswith("network") else 7)
    assert [o.test for o in outcomes if not o.passed] == []


@pytest.mark.parametrize(
    "name", ["pwm/channels7", "bsa/channels1-width8-interleaved", "rate/channels7"]
)
def test_encoders_equal_their_golden_models(name, tmp_path):
    """10^4 samples with pauses on both sides, and what remains after a reset."""
    console = Console(record=True, width=200)
    outcomes = simulate(name, seed=5, out_dir=tmp_path, console=console)
    tests = ["back_pressure", "ready_after_valid", "reset_in_a_frame"]
    assert [o.test for o in outcomes] == tests
    assert [o.detail for o in outcomes if not o.passed] == []
    assert re.match(r"1\d{4} samples, \d+ outputs, 0 differ$", outcomes[0].report)


def test_a_failure_shows_how_to_reproduce_it(tmp_path, monkeypatch):
    fire = "spikeloom_sim.benches.fire"
    given = {"lanes": 1, "bits": 8, "steps": 3, "threshold_bits": 8}
    design = Design("fire/broken", fire, {"top.v": BROKEN}, given)
    monkeypatch.setattr(module, "find_designs", lambda core: [design])
    console = Console(record=True, width=160)
    outcomes = simulate(None, seed=42, out_dir=tmp_path, console=console)
    assert not any(o.passed for o in outcomes if o.test == "back_pressure")
    text = console.export_text()
    assert "reproduce: make sim CORE=fire/broken SEED=42" in text
    assert re.search(r"FAILED fire/broken back_pressure: \S", text)


def test_a_design_that_does_not_compile_fails(tmp_path, monkeypatch):
    design = Design("fire/unfinished", "none", {"top.v": "module top(clk);\n  input clk"})
    monkeypatch.setattr(module, "find_designs", lambda core: [design])
    (outcome,) = simulate(None, seed=1, out_dir=tmp_path, console=Console(record=True))
    assert not outcome.passed
    assert outcome.test == "build"


def test_an_unknown_core_is_one_line(capsys):
    assert main(["--core", "nothing-like-this"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "fire/8x20-T4" in message


def test_every_bench_has_designs():
    names = [design.name for design in find_designs("fire")]
    assert names == ["fire/8x20-T4", "fire/4x24-T8", "fire/3x6-T1"]
