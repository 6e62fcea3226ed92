"""The stream agents: a correct stream passes, each way to break the contract is caught."""

import pathlib
import sys

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from spikeloom_sim.runner import Design, control_file, port_names, run_design
from spikeloom_sim.streams import FieldPacker

SLICE = """
module top(clk, rst, i__payload, i__valid, i__ready, o__payload, o__valid, o__ready);
  input clk, rst;
  input [7:0] i__payload;
  input i__valid;
  output i__ready;
  output reg [7:0] o__payload;
  output reg o__valid;
  input o__ready;
  %(ready)s
  always @(posedge clk) begin
    if (rst) o__valid <= 0;
    else begin
      if (i__ready) begin
        o__valid <= i__valid;
        o__payload <= i__payload;
      end
      %(fault)s
    end
  end
endmodule
"""
READY = "assign i__ready = ~o__valid | o__ready;"
FAULTS = {
    "good": (READY, ""),
    "withdrawn": (READY, "if (o__valid && !o__ready && o__payload[2:0] == 5) o__valid <= 0;"),
    "changed": (READY, "if (o__valid && !o__ready) o__payload <= o__payload ^ 1;"),
    "lost": ("assign i__ready = 1;", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_protocol(fault, tmp_path, monkeypatch):
    here = str(pathlib.Path(__file__).parent)
    monkeypatch.setattr(sys, "path", [here, *sys.path])
    ready, body = FAULTS[fault]
    text = SLICE % {"ready": ready, "fault": body}
    design = Design(f"slice/{fault}", "stream_bench", {"top.v": text})
    outcomes = run_design(design, seed=5, out_dir=tmp_path)
    first = outcomes[0]
    assert first.test == "words_pass"
    if fault == "good":
        assert [o.passed for o in outcomes] == [True, True]
        assert first.report.startswith("2000 words")
        return
    assert not first.passed
    if fault == "withdrawn":
        assert "o withdrew valid before ready" in first.detail
    elif fault == "changed":
        assert "o changed its payload while it waited" in first.detail


def test_seed_reproduces(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(pathlib.Path(__file__).parent), *sys.path])
    design = Design("slice/good", "stream_bench", {"top.v": SLICE % {"ready": READY, "fault": ""}})
    a, b, c = (run_design(design, seed=s, out_dir=tmp_path)[0].report for s in (1, 1, 2))
    assert a == b != c


def test_field_packer_agrees_with_amaranth():
    layout = data.StructLayout(
        {"words": data.ArrayLayout(signed(5), 3), "inner": data.StructLayout({"a": 2}), "n": 7}
    )
    packer = FieldPacker(layout)
    values = {"words": [-16, 3, -1], "inner": {"a": 2}, "n": 99}
    vector = packer.pack(**values)
    assert vector == layout.const(values).as_bits()
    assert packer.unpack(vector) == values
    assert packer.pack(n=1) == 1 << 17
    with pytest.raises(KeyError, match="no field x"):
        packer.pack(x=1)
    flat = FieldPacker(data.ArrayLayout(unsigned(3), 2))
    assert flat.size == 6


def test_ports_are_named():
    text = SLICE % {"ready": READY, "fault": ""}
    ports = port_names(text)
    assert ports == [
        "clk", "rst", "i__payload", "i__valid", "i__ready", "o__payload", "o__valid", "o__ready",
    ]  # fmt: skip
    assert 'public_flat_rw -module "top" -var "o__ready"' in control_file(ports)
