"""Builds the frames that the device sends: header, then words of registers or of a result."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.protocol import DEVICE_HEADER, RESULT_LOGITS, Reply
from spikeloom.hardware.registers import ADDRESS_BITS, BY_NAME

from spikeloom_hdl.link.cobs import bytes_layout

__all__ = ["ReplyBuilder", "request_layout"]

#: A frame to be built: low bits of its type, its ``seq``, and (DATA) which registers it carries.
request_layout = data.StructLayout({"reply": 2, "seq": 8, "address": ADDRESS_BITS, "count": 6})


class ReplyBuilder(wiring.Component):
    """Requests in, frame bytes out (without CRC and coding).

    A request is taken when its last byte goes out; until then it stays, and so must ``next_seq``,
    ``taken`` and ``status``. ``nonce`` is the low byte of a register that turns by a byte on every
    ``turn``: four turns a frame. ``address`` asks for a register, which must be on ``word`` three
    cycles later; a RESULT is made of the registers memory_crc, result_first and, over and over,
    result_logit, while ``index`` counts its logits. A RESULT of more logits than a frame holds
    takes several requests: ``result_done`` comes with the last one, ``rewind`` starts it over.
    ``outputs`` is the number of logits.
    """

    def __init__(self, *, outputs: int, index_bits: int):
        self.outputs, self.index_bits = outputs, index_bits
        super().__init__(
            {
                "i": In(stream.Signature(request_layout)),
                "o": Out(stream.Signature(bytes_layout)),
                "next_seq": In(8),
                "taken": In(8),
                "status": In(8),
                "nonce": In(8),
                "turn": Out(1),
                "address": Out(ADDRESS_BITS),
                "word": In(32),
                "index": Out(index_bits),
                "read": Out(1),
                "first": Out(index_bits + 1),
                "rewind": In(1),
                "result_done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request = self.i.payload
        is_result = Signal()
        m.d.comb += is_result.eq(request.reply == (Reply.RESULT & 3))
        step = Signal(range(DEVICE_HEADER.size))
        left = Signal(6)
        wait, byte = Signal(2), Signal(2)
        shift = Signal(32)
        index = Signal(range(self.outputs + 1))
        address = Signal(ADDRESS_BITS)
        at_logits = Signal()
        m.d.comb += [
            self.address.eq(address),
            self.index.eq(index),
            at_logits.eq(is_result & (address == BY_NAME["result_logit"].address)),
        ]

        if self.outputs <= RESULT_LOGITS:
            words = self.outputs + 2
        else:
            remaining = Signal(range(self.outputs + 1))
            m.d.comb += remaining.eq(self.outputs - index)
            words = Mux(remaining > RESULT_LOGITS, RESULT_LOGITS, remaining) + 2
            m.d.comb += self.first.eq(index)  # read before the first logit is

        def finish() -> None:
            m.d.comb += self.i.ready.eq(1)
            m.next = "Idle"

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += step.eq(0)
                with m.If(is_result):
                    m.d.sync += [address.eq(BY_NAME["memory_crc"].address), left.eq(words)]
                with m.Else():
                    m.d.sync += [address.eq(request.address), left.eq(request.count)]
                with m.If(self.i.valid):
                    m.next = "Header"
            with m.State("Header"):
                m.d.comb += self.o.valid.eq(1)
                sent = self.o.payload.data
                with m.Switch(step):
                    with m.Case(0):
                        m.d.comb += sent.eq(Reply.STATUS | request.reply)
                    with m.Case(1):
                        m.d.comb += sent.eq(request.seq)
                    with m.Case(2):
                        m.d.comb += sent.eq(self.next_seq)
                    with m.Case(3):
                        m.d.comb += sent.eq(self.taken)
                    with m.Case(4):
                        m.d.comb += sent.eq(self.status)
                    with m.Default():
                        m.d.comb += [sent.eq(self.nonce), self.turn.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.d.sync += step.eq(step + 1)
                with m.If(step == DEVICE_HEADER.size - 1):
                    m.d.comb += self.o.payload.last.eq(left == 0)
                    with m.If(self.o.ready):
                        m.next = "Fetch"
                        with m.If(left == 0):
                            finish()
            with m.State("Fetch"):
                m.d.comb += self.read.eq(wait == 0)
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == 3):
                    m.d.sync += [shift.eq(self.word), left.eq(left - 1)]
                    with m.If(at_logits):
                        m.d.sync += index.eq(index + 1)
                    with m.Else():
                        m.d.sync += address.eq(address + 1)
                    m.next = "Send"
            with m.State("Send"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(shift[:8]),
                    self.o.payload.last.eq((byte == 3) & (left == 0)),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [byte.eq(byte + 1), shift.eq(shift >> 8)]
                    with m.If(byte == 3):
                        m.next = "Fetch"
                        with m.If(left == 0):
                            finish()
                            with m.If(index == self.outputs):
                                m.d.comb += self.result_done.eq(is_result)
                                m.d.sync += index.eq(0)
        with m.If(self.rewind):
            m.d.sync += index.eq(0)
        return m
