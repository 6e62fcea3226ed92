"""A network with its host link: what a board's top instantiates."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import Image, fixed_crc
from spikeloom.hardware.parameters import DenseParameters, NetworkParameters
from spikeloom.hardware.protocol import MAX_FRAME, VERSION
from spikeloom.hardware.registers import MAGIC, Capability, pack

from spikeloom_hdl.link.cobs import CobsDecoder, CobsEncoder
from spikeloom_hdl.link.command import CommandProcessor
from spikeloom_hdl.link.crc import CrcAppender
from spikeloom_hdl.link.frames import FrameReceiver
from spikeloom_hdl.link.registers import RegisterBank
from spikeloom_hdl.link.reply import ReplyBuilder
from spikeloom_hdl.link.results import ResultBuffer
from spikeloom_hdl.link.samples import SampleBuffer
from spikeloom_hdl.link.uart import UartReceiver, UartTransmitter, divisor
from spikeloom_hdl.network import NetworkCore

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """NetworkCore, UART, link, buffers and registers.

    clock_hz: frequency of the ``sync`` domain; board_id: a number that the host reads back;
    default_baud: the line rate after reset.
    sample_slots, results, frames: sizes of the buffers for samples, results and received frames
    (powers of two); by default what fits the block RAMs of a small FPGA.
    image: what the memories hold for ever, as ``memory_image`` gives it: the board classifies as
    soon as it is configured. Without, a host loads them.

    ``heartbeat`` blinks about once a second, ``link_error`` lights for about a quarter of a second
    after every damaged or lost frame, ``link_active`` after every sound one.
    Raises ValueError if the clock cannot make the rate to within 2 %, or a size is impossible, or
    the image is none of these parameters.
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)
    heartbeat: Out(1)
    link_error: Out(1)
    link_active: Out(1)

    def __init__(
        self,
        parameters: NetworkParameters,
        *,
        clock_hz: float,
        board_id: int = 0,
        default_baud: int = 115_200,
        sample_slots: int | None = None,
        results: int | None = None,
        frames: int = 2,
        image: Image | None = None,
    ):
        if not 1 <= clock_hz < 1 << 32:
            raise ValueError(f"clock_hz must be in 1..{(1 << 32) - 1}, not {clock_hz!r}")
        if not 0 <= board_id < 1 << 16:
            raise ValueError(f"board_id must be in 0..65535, not {board_id!r}")
        super().__init__()
        self.parameters = parameters
        self.clock_hz = clock_hz
        self._core = NetworkCore(parameters, image=image)
        self._fixed_crc = None
        capabilities = Capability.ZERO_RUNS
        if image is not None:
            self._fixed_crc = fixed_crc(image)
            capabilities |= Capability.FIXED_WEIGHTS
        self._samples = SampleBuffer(parameters.input_port, slots=sample_slots)
        last = parameters.layers[-1]
        assert isinstance(last, DenseParameters)
        self._results = ResultBuffer(last, results=results)
        self._frames = FrameReceiver(frames=frames)
        self._period = divisor(clock_hz, default_baud) - 1
        structure = parameters.to_words()
        counters = len(parameters.counter_names)
        self._registers = RegisterBank(
            constants={
                "protocol": pack("protocol", version=VERSION, magic=MAGIC),
                "build_id_low": parameters.build_id & 0xFFFFFFFF,
                "build_id_high": parameters.build_id >> 32,
                "clock_hz": round(clock_hz),
                "board": pack("board", id=board_id, capabilities=capabilities),
                "buffers": pack(
                    "buffers",
                    results=self._results.results,
                    samples=self._samples.slots,
                    frames=frames,
                    max_frame=MAX_FRAME,
                ),
                "counts": pack("counts", structure=len(structure), counters=counters),
            },
            structure=structure,
            counters=counters,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first, outputs = self.parameters.input_port, self.parameters.layers[-1].port_out.channels
        m.submodules.core = core = self._core
        m.submodules.samples = samples = self._samples
        m.submodules.results = results = self._results
        m.submodules.registers = registers = self._registers
        m.submodules.receiver = receiver = UartReceiver()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.frames = frames = self._frames
        m.submodules.command = command = CommandProcessor(
            results=results.results,
            input_bits=first.bits,
            period=self._period,
            fixed_crc=self._fixed_crc,
        )
        m.submodules.reply = reply = ReplyBuilder(outputs=outputs, index_bits=results.index_bits)
        m.submodules.appender = appender = CrcAppender()
        m.submodules.encoder = encoder = CobsEncoder()
        m.submodules.transmitter = transmitter = UartTransmitter()

        wiring.connect(m, receiver.o, decoder.i)
        wiring.connect(m, decoder.o, frames.i)
        wiring.connect(m, frames.o, command.i)
        wiring.connect(m, command.o, reply.i)
        wiring.connect(m, reply.o, appender.i)
        wiring.connect(m, appender.o, encoder.i)
        wiring.connect(m, encoder.o, transmitter.i)
        wiring.connect(m, samples.o, core.i)
        wiring.connect(m, core.o, results.i)
        wiring.connect(m, command.load, core.load)

        logit = Signal(signed(32))
        m.d.sync += logit.eq(results.logit)

        faults = Signal.like(registers.link_faults)
        for count, event in (
            (faults.damaged, frames.damaged),
            (faults.overrun, frames.overrun),
            (faults.repeated, command.repeated),
            (faults.early, command.early),
        ):
            with m.If(registers.control.clear_faults):
                m.d.sync += count.eq(0)
            with m.Elif(event & ~count.all()):
                m.d.sync += count.eq(count + 1)

        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            receiver.period.eq(command.period),
            transmitter.period.eq(command.period),
            frames.release.eq(command.release),
            command.tx_free.eq(encoder.free),
            command.tx_idle.eq(encoder.free & transmitter.idle),
            reply.next_seq.eq(command.next_seq),
            reply.taken.eq(samples.taken),
            reply.status.eq(command.status),
            reply.nonce.eq(command.nonce),
            command.turn.eq(reply.turn),
            registers.address.eq(reply.address),
            reply.word.eq(registers.read_data),
            registers.write_data.eq(command.write_data),
            registers.write.eq(command.write),
            command.writable.eq(registers.writable),
            registers.memory_crc.eq(command.memory_crc),
            registers.status.weights_valid.eq(command.weights_valid),
            registers.status.busy.eq(command.busy),
            registers.status.error.eq(command.error),
            registers.status.period.eq(command.period),
            registers.link_faults.eq(faults),
            registers.counters.eq(core.counters),
            core.clear_counters.eq(registers.control.clear_counters | command.reset),
            core.abort.eq(command.clear),
            command.busy.eq(core.busy | (samples.number != samples.taken)),
            samples.word.eq(command.word),
            samples.write.eq(command.write_word),
            samples.commit.eq(command.commit),
            samples.clear.eq(command.clear),
            command.complete.eq(samples.complete),
            command.room.eq(samples.room),
            command.number.eq(samples.number),
            command.taken.eq(samples.taken),
            command.produced.eq(results.produced),
            command.result_done.eq(reply.result_done),
            reply.rewind.eq(command.rewind),
            results.clear.eq(command.clear),
            results.slot.eq(command.sent),
            results.index.eq(reply.index),
            results.read.eq(reply.read),
            registers.result_first.eq(reply.first),
            registers.result_logit.eq(logit),
        ]
        with m.If(command.write):
            m.d.comb += registers.address.eq(command.address)
        self._lights(m, command, frames)
        return m

    def _lights(self, m: Module, command: CommandProcessor, frames: FrameReceiver) -> None:
        """Drive the millisecond tick and the LEDs from one counter each."""
        cycles = max(1, round(self.clock_hz / 1000))
        prescaler, milliseconds = Signal(range(cycles)), Signal(10)
        m.d.comb += command.tick.eq(prescaler == cycles - 1)
        m.d.sync += prescaler.eq(prescaler + 1)
        with m.If(command.tick):
            m.d.sync += [prescaler.eq(0), milliseconds.eq(milliseconds + 1)]
        m.d.comb += self.heartbeat.eq(milliseconds[-1])

        # A light goes out at the second 128 ms mark after its last event.
        mark = Signal()
        m.d.comb += mark.eq(command.tick & milliseconds[:7].all())
        trouble = frames.damaged | frames.overrun | command.early
        for light, event in ((self.link_error, trouble), (self.link_active, frames.received)):
            marks = Signal(2)
            with m.If(event):
                m.d.sync += marks.eq(0b11)
            with m.Elif(mark):
                m.d.sync += marks.eq(marks >> 1)
            m.d.comb += light.eq(marks[0])
