"""Layers that are clean after a few cycles of reset."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter, Signal

__all__ = ["connect_input", "reset_cycle"]


def reset_cycle(m: Module, layer, cycles: int = 1) -> ResetInserter:
    """Drive ``resetting`` of a layer from its ``abort``, for some cycles after it or a reset.

    Returns what resets its submodules meanwhile.
    """
    if cycles == 1:
        m.d.sync += layer.resetting.eq(layer.abort)
        return ResetInserter(layer.resetting)
    left = Signal(range(cycles), init=cycles - 1, name="resetting_left")
    m.d.sync += layer.resetting.eq(layer.abort | left.any())
    with m.If(layer.abort):
        m.d.sync += left.eq(cycles - 1)
    with m.Elif(left.any()):
        m.d.sync += left.eq(left - 1)
    return ResetInserter(layer.resetting)


def connect_input(m: Module, layer, outside, inside) -> None:
    """Connect a stream that enters a layer to the one of a submodule, except while resetting."""
    m.d.comb += [
        inside.payload.eq(outside.payload),
        inside.valid.eq(outside.valid & ~layer.resetting),
        outside.ready.eq(inside.ready & ~layer.resetting),
    ]
