"""Vendor multiplier cells with their internal registers: ECP5 MULT18X18D, iCE40 UP5K SB_MAC16."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value

__all__ = [
    "MAC16_LATENCY",
    "MULT18_BITS",
    "MULT18_LATENCY",
    "mac16",
    "mult18",
    "multiply",
    "multiply_latency",
]

#: Width of an operand of :func:`mult18`.
MULT18_BITS = 18

#: Cycles from the operands of :func:`mult18` to its product.
MULT18_LATENCY = 3

#: Cycles from the operands of :func:`mac16` until its accumulator adds their product.
MAC16_LATENCY = 3


def _extend(value: Value, bits: int) -> Value:
    """Sign- or zero-extend by its own signedness."""
    sign = value[-1] if value.shape().signed else Const(0, 1)
    return Cat(value, sign.replicate(bits - len(value)))


def multiply(m: Module, a: Value, b: Value, *, advance: Value, name: str) -> tuple[Value, int]:
    """Multiply in LUTs, with registers; return the product and its latency in cycles.

    ``a`` is signed, ``b`` may be. ``advance`` at 0 freezes the registers. ``b`` is taken in digits
    of two bits, whose products are one addition each; they are added in a tree, a register a level.
    Without registers between, Yosys makes one carry-save adder of them all: 147 LUTs a lane of 8 by
    4 bits, not 86.
    """
    terms = []
    for low in range(0, len(b), 2):
        digit = b[low : low + 2]
        if b.shape().signed and low + 2 >= len(b):
            digit = digit.as_signed()
        terms.append((low, a * digit))
    latency = 0
    while latency == 0 or len(terms) > 1:
        if latency:
            pairs = zip(terms[::2], terms[1::2], strict=False)
            sums = [(low, x + (y << high - low)) for (low, x), (high, y) in pairs]
            terms = sums + terms[len(sums) * 2 :]
        latency += 1
        for k, (low, value) in enumerate(terms):
            part = Signal(value.shape(), name=f"{name}_{latency}_{k}", reset_less=True)
            with m.If(advance):
                m.d.sync += part.eq(value)
            terms[k] = (low, part)
    return terms[0][1], latency


def multiply_latency(bits: int) -> int:
    """Latency of :func:`multiply` by ``bits`` bits, in cycles."""
    return 1 + (-(-bits // 2) - 1).bit_length()


def mult18(a: Value, b: Value, product: Signal, *, advance: Value | None = None) -> Instance:
    """Signed 18 x 18 multiplier of an ECP5; ``product`` (up to 36 bits) follows in three cycles.

    Input, pipeline and output registers are all used. ``a`` may be signed or not, ``b`` too.
    ``advance`` at 0 freezes the registers.
    """
    if not a.shape().signed:
        a = Cat(a, Const(0, 1))
    # at the upper end of its port, `a` needs no copies of its sign: constants cost no routing
    shift = 18 - len(a)
    operands = (("A", Cat(Const(0, shift), a)), ("B", _extend(b, 18)), ("C", Const(0, 18)))
    ports: dict[str, object] = {}
    for name, value in operands:
        ports |= {f"i_{name}{k}": value[k] for k in range(18)}
    # SRIA and SRIB come from the next cell, not from routing: like the other clocks, left open
    for register in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
        ports[f"p_REG_{register}_CLK"] = "CLK0"
        ports[f"p_REG_{register}_CE"] = "CE0"
        ports[f"p_REG_{register}_RST"] = "RST0"
    return Instance(
        "MULT18X18D",
        p_REG_INPUTC_CLK="NONE",
        p_CLK0_DIV="ENABLED",
        p_SOURCEB_MODE="B_SHIFT",
        p_MULT_BYPASS="DISABLED",
        p_RESETMODE="SYNC",
        p_GSR="DISABLED",
        i_SIGNEDA=Const(1, 1),
        i_SIGNEDB=Const(1, 1),
        i_SOURCEA=Const(0, 1),
        i_SOURCEB=Const(0, 1),
        i_CLK0=ClockSignal(),
        i_CE0=Const(1, 1) if advance is None else advance,
        i_RST0=Const(0, 1),
        **{f"o_P{k + shift}": product[k] for k in range(len(product))},
        **ports,
    )


def mac16(a: Value, b: Value, clear: Value, total: Signal) -> Instance:
    """Signed 16 x 16 multiplier of an iCE40 UP5K with its 32-bit accumulator, ``total``.

    Registers for operands, partial products and product. ``clear`` loads zero into the accumulator
    and comes with the product of the operands of three cycles before, which is dropped.
    """
    return Instance(
        "SB_MAC16",
        p_NEG_TRIGGER=0,
        p_C_REG=0,
        p_A_REG=1,
        p_B_REG=1,
        p_D_REG=0,
        p_TOP_8x8_MULT_REG=1,
        p_BOT_8x8_MULT_REG=1,
        p_PIPELINE_16x16_MULT_REG1=1,
        p_PIPELINE_16x16_MULT_REG2=1,
        p_TOPOUTPUT_SELECT=1,  # the accumulator
        p_TOPADDSUB_LOWERINPUT=2,  # adds the upper half of the product
        p_TOPADDSUB_UPPERINPUT=0,  # to the accumulator
        p_TOPADDSUB_CARRYSELECT=2,  # with the carry of the lower half
        p_BOTOUTPUT_SELECT=1,
        p_BOTADDSUB_LOWERINPUT=2,
        p_BOTADDSUB_UPPERINPUT=0,
        p_BOTADDSUB_CARRYSELECT=0,
        p_MODE_8x8=0,
        p_A_SIGNED=1,
        p_B_SIGNED=1,
        i_CLK=ClockSignal(),
        i_CE=Const(1, 1),
        i_A=_extend(a, 16),
        i_B=_extend(b, 16),
        i_C=Const(0, 16),
        i_D=Const(0, 16),
        **{f"i_{port}": Const(0, 1) for port in ("AHOLD", "BHOLD", "CHOLD", "DHOLD")},
        **{f"i_{port}": Const(0, 1) for port in ("IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT")},
        i_OLOADTOP=clear,
        i_OLOADBOT=clear,
        **{f"i_{port}": Const(0, 1) for port in ("ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT")},
        **{f"i_{port}": Const(0, 1) for port in ("CI", "ACCUMCI", "SIGNEXTIN")},
        o_O=total,
    )
