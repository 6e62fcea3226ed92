"""Executes received frames, one after another, and decides what to send."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import ROW_BITS
from spikeloom.hardware.protocol import (
    HOST_HEADER,
    MEM_FIRST,
    MEM_LAST,
    POLL_RESEND,
    Command,
    Error,
    InferFlag,
    Reply,
)
from spikeloom.hardware.registers import ADDRESS_BITS, BY_NAME, IDENTITY

from spikeloom_hdl.link.cobs import bytes_layout
from spikeloom_hdl.link.crc import crc32_processor
from spikeloom_hdl.link.reply import request_layout
from spikeloom_hdl.link.uart import PERIOD_BITS
from spikeloom_hdl.stream import LoadBus

__all__ = ["CommandProcessor"]

REVERT_TICKS = 128  # milliseconds within which a new line rate must be confirmed
READ_CYCLES = 64  # a memory that has not answered by then is none


class CommandProcessor(wiring.Component):
    """Session, order and credit; register access, memory access and samples.

    Takes frames from a FrameReceiver (``i``, ``release``), asks a ReplyBuilder for frames
    (``o``). Fills a SampleBuffer (``word`` ... ``taken``), sends what a ResultBuffer holds
    (``sent``, ``produced``, ``rewind``, ``result_done``), masters the load bus. ``clear`` drops
    every sample anywhere, ``reset`` forgets the rest too. ``tick`` comes every millisecond.
    results: how many results the ResultBuffer keeps; input_bits: width of a word; period: cycles of
    a bit after reset, less one. fixed_crc: the CRC of weights that are fixed; then they are valid
    from reset on, and MEM_WRITE is refused. The protocol is in docs/link.md.
    """

    def __init__(self, *, results: int, input_bits: int, period: int, fixed_crc: int | None = None):
        self.results, self.fixed_crc = results, fixed_crc
        super().__init__(
            {
                "i": In(stream.Signature(bytes_layout)),
                "release": Out(1),
                "o": Out(stream.Signature(request_layout)),
                "tx_free": In(1),
                "tx_idle": In(1),
                "tick": In(1),
                "period": Out(PERIOD_BITS, init=period),
                # header of every frame
                "next_seq": Out(8),
                "status": Out(8),
                "nonce": Out(8),
                "turn": In(1),
                # registers
                "address": Out(ADDRESS_BITS),
                "write": Out(1),
                "write_data": Out(32),
                "writable": In(1),
                "memory_crc": Out(32),
                "weights_valid": Out(1, init=int(fixed_crc is not None)),
                "error": Out(4),
                "repeated": Out(1),
                "early": Out(1),
                # samples and results
                "word": Out(input_bits),
                "write_word": Out(1),
                "complete": In(1),
                "commit": Out(1),
                "room": In(1),
                "number": In(8),
                "taken": In(8),
                "produced": In(8),
                "sent": Out(8),
                "result_done": In(1),
                "rewind": Out(1),
                "clear": Out(1),
                "reset": Out(1),
                "busy": In(1),
                "load": Out(LoadBus()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = crc32_processor()

        command, seq, received = Signal(8), Signal(8), Signal(8)
        index = Signal(range(HOST_HEADER.size))
        ended, unasked, second = Signal(), Signal(), Signal()
        word, byte = Signal(32), Signal(2)
        address, rows, wait = Signal(32), Signal(16), Signal(range(READ_CYCLES))
        row = address[:ROW_BITS]

        nonce, session, same = Signal(32), Signal(), Signal()
        acknowledge, early = Signal(), Signal()
        acked, fragment, summing = Signal(8), Signal(8), Signal()
        reply = Signal(2)
        zero, run = Signal(), Signal(8)

        fixed = self.fixed_crc is not None
        checked, memory_crc = Signal(), engine.crc
        if self.fixed_crc is not None:  # until memories are checked, what the bitstream is to hold
            memory_crc = Mux(checked, engine.crc, Const(self.fixed_crc, 32))

        data = self.i.payload.data
        taking = Signal()
        m.d.comb += taking.eq(self.i.valid & self.i.ready)
        with m.If(taking):
            m.d.sync += ended.eq(self.i.payload.last)

        is_result = Signal()
        m.d.comb += [
            self.nonce.eq(nonce[:8]),
            self.status.eq(Cat(self.error, early, self.weights_valid, self.busy, ~session)),
            self.memory_crc.eq(memory_crc),
            self.address.eq(address),
            self.write_data.eq(word),
            self.load.address.eq(address),
            self.load.data.eq(word),
            is_result.eq(reply == (Reply.RESULT & 3)),
            self.o.payload.reply.eq(reply),
            self.o.payload.seq.eq(Mux(is_result, self.sent, seq)),
            self.o.payload.address.eq(word[:8]),
            self.o.payload.count.eq(Mux(reply == (Reply.DATA & 3), word[8:14], 0)),
            engine.data.eq(word[:8]),
        ]
        with m.If(self.turn):
            m.d.sync += nonce.eq(Cat(nonce[8:], nonce[:8]))

        def fail(error: Error) -> None:
            m.d.sync += self.error.eq(error)
            m.next = "Done"

        def answer(kind: Reply) -> None:
            m.d.sync += [reply.eq(kind & 3), acknowledge.eq(0)]
            m.next = "Reply"

        def answer_registers(first: int, count: int) -> None:
            m.d.sync += word[:16].eq(first | count << 8)
            answer(Reply.DATA)

        # A new rate of the line holds only if two new frames come at it in time: the host sends
        # the second when it has heard the answer to the first, so both directions work.
        confirmed_period = Signal(PERIOD_BITS, init=self.period.init)
        trial, heard, ticks = Signal(), Signal(), Signal(range(REVERT_TICKS))
        confirm = Signal()
        with m.If(trial & self.tick):
            m.d.sync += ticks.eq(ticks + 1)
            with m.If(ticks == REVERT_TICKS - 1):
                m.d.sync += [trial.eq(0), self.period.eq(confirmed_period)]
        with m.If(confirm):
            m.d.sync += [heard.eq(1), trial.eq(trial & ~heard)]

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [index.eq(0), byte.eq(0), second.eq(0), same.eq(1), zero.eq(0)]
                with m.If(self.i.valid):
                    m.d.sync += unasked.eq(0)
                    m.next = "Header"
                with m.Elif(self.tx_free):
                    m.d.sync += unasked.eq(1)
                    with m.If(self.produced != self.sent):
                        answer(Reply.RESULT)
                    with m.Elif(acknowledge):
                        answer(Reply.STATUS)

            with m.State("Header"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += index.eq(index + 1)
                    with m.Switch(index):
                        with m.Case(0):
                            m.d.sync += command.eq(data)
                        with m.Case(1):
                            m.d.sync += seq.eq(data)
                        with m.Case(2):
                            m.d.sync += received.eq(data)
                        with m.Default():
                            m.d.sync += [
                                same.eq(same & (nonce[:8] == data)),
                                nonce.eq(Cat(nonce[8:], nonce[:8])),
                            ]
                            with m.If(command == Command.IDENTIFY):
                                m.d.sync += nonce[24:].eq(data)
                    with m.If(index == HOST_HEADER.size - 1):
                        m.next = "Dispatch"

            with m.State("Dispatch"):
                ahead = Signal(8)
                m.d.comb += ahead.eq(seq - self.next_seq)
                m.d.sync += acknowledge.eq(1)
                m.next = "Done"
                with m.If(command == Command.IDENTIFY):
                    m.d.comb += confirm.eq(1)
                    with m.If(~same | ~session):
                        m.d.comb += self.clear.eq(1)
                        m.d.sync += [session.eq(1), self.next_seq.eq(1), self.error.eq(0)]
                    answer_registers(0, len(IDENTITY))
                with m.Elif(same & session):
                    with m.If(ahead != 0):
                        m.d.comb += [self.repeated.eq(ahead[7]), self.early.eq(~ahead[7])]
                        m.d.sync += early.eq(early | ~ahead[7])
                    with m.Else():
                        m.d.comb += confirm.eq(1)
                        m.d.sync += [self.next_seq.eq(self.next_seq + 1), acked.eq(received)]
                        # What the host has is not sent again, even if it asked for it before.
                        with m.If((self.sent - received)[7]):
                            m.d.sync += self.sent.eq(received)
                            m.d.comb += self.rewind.eq(1)
                        with m.If((command == Command.RESET) | (command == Command.CLOSE)):
                            answer(Reply.DONE)
                        with m.Elif((command == Command.READ) | (command == Command.POLL)):
                            m.next = "Word"
                        with m.Elif(self.error == 0):  # after an error nothing else is done
                            m.next = "Word"
                            with m.If((command == 0) | (command > max(Command))):
                                fail(Error.BAD_COMMAND)

            with m.State("Word"):
                m.d.comb += self.i.ready.eq(~ended)
                with m.If(ended):
                    m.next = "Done"
                    with m.If((command != Command.MEM_WRITE) | ~second | (byte != 0)):
                        fail(Error.BAD_LENGTH)
                with m.If(taking):
                    m.d.sync += [word.eq(Cat(word[8:], data)), byte.eq(byte + 1)]
                    with m.If(byte == 3):
                        m.next = "Execute"

            with m.State("Execute"):
                m.d.sync += [second.eq(1), run.eq(0)]
                with m.If(~second):
                    m.d.sync += address.eq(word)
                m.next = "Done"
                with m.Switch(command):
                    with m.Case(Command.READ):
                        answer(Reply.DATA)
                    with m.Case(Command.POLL), m.If(word[POLL_RESEND.bit_length() - 1]):
                        m.d.sync += self.sent.eq(acked)
                        m.d.comb += self.rewind.eq(1)
                    with m.Case(Command.SET_BAUD):
                        answer(Reply.DONE)
                    with m.Case(Command.WRITE):
                        with m.If(~second):
                            m.next = "Word"
                        with m.Else():
                            m.d.comb += self.write.eq(1)
                            with m.If(~self.writable):
                                fail(Error.BAD_ADDRESS)
                    if fixed:
                        with m.Case(Command.MEM_WRITE):
                            fail(Error.FIXED_WEIGHTS)
                    with m.Case(Command.MEM_WRITE, Command.MEM_CRC):
                        m.next = "Word"
                        with m.If(~second):
                            # No sample is anywhere, and no result that the old weights gave.
                            with m.If(self.number != acked):
                                fail(Error.NOT_COLLECTED)
                            with m.Else():
                                m.d.sync += self.weights_valid.eq(0)
                                if fixed:
                                    m.d.sync += checked.eq(1)
                                with m.If(command == Command.MEM_WRITE):
                                    m.d.sync += summing.eq(0)
                                with m.Elif(word[MEM_FIRST.bit_length() - 1]):
                                    m.d.comb += engine.start.eq(1)
                                    m.d.sync += summing.eq(1)
                        with m.Elif(command == Command.MEM_WRITE):
                            m.d.comb += self.load.write.eq(int(not fixed))
                            m.d.sync += row.eq(row + 1)
                        with m.Else():
                            m.d.sync += rows.eq(word)
                            m.next = "Fetch"
                    with m.Case(Command.INFER):
                        m.next = "Sample"
                        ahead_of_host = Signal(8)
                        m.d.comb += ahead_of_host.eq(self.number - acked)
                        no_slot = ahead_of_host[self.results.bit_length() - 1 :].any()
                        with m.If(~self.weights_valid):
                            fail(Error.NOT_READY)
                        with m.Elif((word[:8] != self.number) | (word[16:24] != fragment)):
                            fail(Error.BAD_SAMPLE)
                        with m.Elif((fragment == 0) & (~self.room | no_slot)):
                            fail(Error.NO_CREDIT)

            with m.State("Fetch"):
                m.d.comb += self.load.read.eq(1)
                m.d.sync += wait.eq(0)
                m.next = "Wait"
            with m.State("Wait"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(self.load.read_valid):
                    m.d.sync += word.eq(self.load.read_data)
                    m.next = "Sum"
                with m.Elif(wait == READ_CYCLES - 1):
                    fail(Error.BAD_ADDRESS)
            with m.State("Sum"):
                m.d.comb += engine.valid.eq(1)
                m.d.sync += [
                    word.eq(Cat(word[8:], data)),
                    byte.eq(byte + 1),
                ]  # only the low byte counts
                with m.If(byte == 3):
                    m.d.sync += [row.eq(row + 1), rows.eq(rows - 1)]
                    m.next = "Fetch"
                    with m.If(rows == 1):
                        with m.If(address[MEM_LAST.bit_length() - 1]):
                            m.d.sync += self.weights_valid.eq(summing)
                        answer_registers(BY_NAME["memory_crc"].address, 1)

            with m.State("Sample"):
                last, coded = word[8], word[8 + InferFlag.ZERO_RUNS.bit_length() - 1]
                storing = Signal()
                m.d.comb += self.i.ready.eq((run == 0) & ~ended)
                with m.If(run != 0):
                    m.d.comb += storing.eq(1)
                    m.d.sync += run.eq(run - 1)
                with m.Elif(taking):
                    with m.If(zero):
                        m.d.sync += [run.eq(data), zero.eq(0)]
                    with m.Elif(coded & (data == 0)):
                        m.d.sync += zero.eq(1)
                    with m.Else():
                        m.d.comb += [storing.eq(1), self.word.eq(data)]
                with m.Elif(ended):
                    m.d.sync += fragment.eq(fragment + 1)
                    m.next = "Done"
                    with m.If(last):
                        with m.If(self.complete):
                            m.d.comb += self.commit.eq(1)
                            m.d.sync += fragment.eq(0)
                        with m.Else():
                            fail(Error.BAD_SAMPLE)
                m.d.comb += self.write_word.eq(storing & ~self.complete)
                with m.If(storing & self.complete):
                    fail(Error.BAD_SAMPLE)

            with m.State("Reply"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += early.eq(0)
                    m.next = "Done"
                    with m.If(reply == (Reply.DONE & 3)):
                        m.next = "After"

            # The answer has left the wire: do what was asked.
            with m.State("After"), m.If(self.tx_idle):
                m.next = "Done"
                with m.If(command == Command.SET_BAUD):
                    with m.If(~trial):  # a rate on trial is none to go back to
                        m.d.sync += confirmed_period.eq(self.period)
                    m.d.sync += [
                        self.period.eq(word),
                        trial.eq(1),
                        heard.eq(0),
                        ticks.eq(0),
                    ]
                with m.Else():
                    m.d.comb += self.clear.eq(1)
                    m.d.sync += [session.eq(0), self.error.eq(0)]
                with m.If(command == Command.CLOSE):
                    m.d.sync += [self.period.eq(self.period.init), trial.eq(0)]
                with m.If(command == Command.RESET):
                    m.d.comb += self.reset.eq(1)
                    m.d.sync += self.weights_valid.eq(int(fixed))
                    if fixed:
                        m.d.sync += checked.eq(0)

            with m.State("Done"):
                m.d.comb += self.release.eq(~unasked)
                m.d.sync += ended.eq(0)
                m.next = "Idle"

        with m.If(self.result_done):
            m.d.sync += self.sent.eq(self.sent + 1)
        taken = Signal(8)
        m.d.sync += taken.eq(self.taken)
        with m.If(taken[0] != self.taken[0]):  # the host may send a further sample: tell it
            m.d.sync += acknowledge.eq(1)
        with m.If(self.clear):
            m.d.comb += self.rewind.eq(1)
            m.d.sync += [signal.eq(0) for signal in (acked, fragment, self.sent)]
        return m
