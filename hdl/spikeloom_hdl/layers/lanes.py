"""Changes how many words a transfer carries; every pixel begins with a new transfer."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.port import Port

from spikeloom_hdl.stream import potentials_signature, words_signature

__all__ = ["Narrow", "Widen", "convert", "items", "port_signature"]


def port_signature(port: Port):
    """Return the signature of a layer's stream."""
    make = potentials_signature if port.signed else words_signature
    return make(port.lanes, port.bits)


def items(payload: Any):
    """The words, or potentials, of a payload."""
    return payload.potentials if "potentials" in payload.shape().members else payload.words


def convert(a: Port, b: Port) -> Widen | Narrow | None:
    """Return what turns the stream ``a`` into the lanes of ``b``; None where they are the same."""
    settings = {"lanes_in": a.lanes, "lanes_out": b.lanes, "bits": a.bits, "signed": a.signed}
    if a.lanes < b.lanes:
        # a pixel of flat samples ends with the sample, which the stream says itself
        pixel = None if a.pixels == 1 else a.transfers_per_pixel
        return Widen(**settings, transfers_per_pixel=pixel)
    if a.lanes > b.lanes:
        return Narrow(**settings, transfers_per_pixel=b.transfers_per_pixel)
    return None


class _Lanes(wiring.Component):
    """Streams on both sides, from ``lanes_in`` to ``lanes_out`` words a transfer."""

    def __init__(self, lanes_in: int, lanes_out: int, bits: int, signed: bool):
        self.lanes_in, self.lanes_out, self.bits = lanes_in, lanes_out, bits
        make = potentials_signature if signed else words_signature
        super().__init__({"i": In(make(lanes_in, bits)), "o": Out(make(lanes_out, bits))})


class Widen(_Lanes):
    """From ``lanes_in`` words a transfer to ``lanes_out``, a multiple; zeros fill up a pixel.

    transfers_per_pixel: of the input; None where a sample is one pixel.
    Latency: one cycle after the last word of a transfer. Rate: a transfer in a cycle.
    Raises ValueError unless lanes_out is a multiple, twice or more.
    """

    def __init__(
        self,
        *,
        lanes_in: int,
        lanes_out: int,
        bits: int,
        signed: bool = False,
        transfers_per_pixel: int | None = None,
    ):
        if lanes_in < 1 or lanes_out % lanes_in or lanes_out == lanes_in:
            raise ValueError(f"lanes_out {lanes_out} must be a multiple of lanes_in {lanes_in}")
        self.transfers_per_pixel = transfers_per_pixel
        super().__init__(lanes_in, lanes_out, bits, signed)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n, pixel = self.lanes_out // self.lanes_in, self.transfers_per_pixel
        place = Signal(n, init=1)  # one-hot: where the next words go
        ends, taken = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            taken.eq(self.i.valid & self.i.ready),
            ends.eq(self.i.p.last | place[-1]),
        ]
        if pixel is not None and pixel % n:  # else pixels end where wide transfers do
            count = Signal(range(pixel))
            final = Signal()
            m.d.comb += [final.eq(count == pixel - 1), ends.eq(final | place[-1])]
            with m.If(taken):
                m.d.sync += count.eq(Mux(final, 0, count + 1))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(taken):
            m.d.sync += [
                self.o.valid.eq(ends),
                self.o.p.last.eq(self.i.p.last),
                place.eq(place.rotate_left(1)),
            ]
            with m.If(ends):
                m.d.sync += place.eq(1)
            with m.If(place[0]):  # the words of a new transfer: the others are zero until they come
                m.d.sync += [items(self.o.p).as_value().eq(0), self.o.p.first.eq(self.i.p.first)]
            for k in range(n):
                with m.If(place[k]):
                    for lane in range(self.lanes_in):
                        item = items(self.i.p)[lane]
                        m.d.sync += items(self.o.p)[k * self.lanes_in + lane].eq(item)
        return m


class Narrow(_Lanes):
    """From ``lanes_in`` words a transfer to ``lanes_out``, which divides it; padding is dropped.

    transfers_per_pixel: of the output. Latency: none. Rate: a transfer out a cycle.
    Raises ValueError unless lanes_in is a multiple of lanes_out, twice or more.
    """

    def __init__(
        self,
        *,
        lanes_in: int,
        lanes_out: int,
        bits: int,
        transfers_per_pixel: int,
        signed: bool = False,
    ):
        if lanes_out < 1 or lanes_in % lanes_out or lanes_out == lanes_in:
            raise ValueError(f"lanes_in {lanes_in} must be a multiple of lanes_out {lanes_out}")
        self.transfers_per_pixel = transfers_per_pixel
        super().__init__(lanes_in, lanes_out, bits, signed)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n, pixel = self.lanes_in // self.lanes_out, self.transfers_per_pixel
        place = Signal(n, init=1)  # one-hot: which words of the wide transfer leave
        final = Signal()  # they are its last that are no padding
        m.d.comb += final.eq(place[-1])
        taken = Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        if pixel % n:
            count = Signal(range(pixel))
            end = Signal()
            m.d.comb += [end.eq(count == pixel - 1), final.eq(place[-1] | end)]
            with m.If(taken):
                m.d.sync += count.eq(Mux(end, 0, count + 1))
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready & final),
            self.o.p.first.eq(self.i.p.first & place[0]),
            self.o.p.last.eq(self.i.p.last & final),
        ]
        # one place is set, so OR gates select
        for lane in range(self.lanes_out):
            chosen = (
                items(self.i.p)[k * self.lanes_out + lane].as_unsigned()
                & place[k].replicate(self.bits)
                for k in range(n)
            )
            m.d.comb += items(self.o.p)[lane].eq(reduce(or_, chosen))
        with m.If(taken):
            m.d.sync += place.eq(Mux(final, 1, place.rotate_left(1)))
        return m
