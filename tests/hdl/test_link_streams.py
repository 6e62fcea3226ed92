"""Coding, CRC, frames and buffers of the link, against plain Python, under random stalls."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator
from spikeloom.hardware import protocol
from spikeloom.hardware.parameters import DenseParameters, Folding
from spikeloom_hdl.link.buffer import StreamedMemory
from spikeloom_hdl.link.cobs import CobsDecoder, CobsEncoder
from spikeloom_hdl.link.crc import CrcAppender
from spikeloom_hdl.link.frames import FrameReceiver
from spikeloom_hdl.link.results import ResultBuffer, default_results
from spikeloom_hdl.link.samples import SampleBuffer, default_slots


def run(dut, *benches) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


def bodies(seed: int, count: int, longest: int) -> list[bytes]:
    generator = np.random.default_rng(seed)
    found = [b"\0", b"\1", b"\0" * longest, b"\7" * longest, bytes(range(1, 20)) + b"\0"]
    for _ in range(count):
        data = generator.integers(0, 256, generator.integers(1, longest + 1))
        data[generator.random(len(data)) < generator.random()] = 0
        found.append(bytes(data.tolist()))
    return found


async def put(ctx, stream, values, chance: random.Random | None = None) -> None:
    for value in values:
        while chance and chance.random() < 0.4:
            await ctx.tick()
        ctx.set(stream.payload, value)
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


async def take(ctx, stream, chance: random.Random | None = None):
    while chance and chance.random() < 0.4:
        await ctx.tick()
    ctx.set(stream.ready, 1)
    (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
    ctx.set(stream.ready, 0)
    return payload


@pytest.mark.parametrize("stalls", [False, True])
def test_crc_and_coding_of_frames(stalls: bool):
    m = Module()
    m.submodules.appender = appender = CrcAppender()
    m.submodules.encoder = encoder = CobsEncoder()
    wiring.connect(m, appender.o, encoder.i)
    frames = bodies(1, 6, protocol.MAX_FRAME - 4)
    wire = bytearray()

    async def send(ctx) -> None:
        chance = random.Random(2) if stalls else None
        for body in frames:
            items = [{"data": b, "last": k == len(body) - 1} for k, b in enumerate(body)]
            await put(ctx, appender.i, items, chance)

    async def listen(ctx) -> None:
        chance = random.Random(3) if stalls else None
        while wire.count(0) < len(frames):
            wire.append(await take(ctx, encoder.o, chance))

    run(m, send, listen)
    assert bytes(wire) == b"".join(protocol.seal(body) for body in frames)


def decode(wire: bytes, broken: set[int] = frozenset()) -> list[tuple[bytes, bool]]:
    dut = CobsDecoder()
    found: list[tuple[bytes, bool]] = []

    async def bench(ctx) -> None:
        body = bytearray()
        for k, byte in enumerate(wire):
            ctx.set(dut.i.payload, {"data": byte, "broken": k in broken})
            ctx.set(dut.i.valid, 1)
            _, _, valid, event = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and event.end:
                found.append((bytes(body), bool(event.sound)))
                body.clear()
            elif valid:
                body.append(event.data)

    run(dut, bench)
    return found


def test_decoding():
    frames = bodies(4, 20, 253)
    wire = b"".join(protocol.cobs_encode(body) + b"\0" for body in frames)
    assert decode(b"\0\0" + wire) == [(body, True) for body in frames]


def test_decoding_of_broken_frames():
    coded = protocol.cobs_encode(b"abc\0de")
    (found,) = decode(coded[:-1] + b"\0")
    assert not found[1]  # cut inside a group
    (found,) = decode(coded + b"\0", broken={3})
    assert not found[1]  # a bad stop bit
    (found,) = decode(b"\0", broken={0})
    assert not found[1]
    good = decode(coded[:2] + b"\0" + coded + b"\0")
    assert good[1] == (b"abc\0de", True)  # the next frame is sound again


def test_frames_are_kept_whole_and_in_order():
    dut = FrameReceiver(frames=2)
    good = [body for body in bodies(6, 12, 250) if len(body) >= 7]
    damaged, overrun, received = [], [], []
    heard: list[bytes] = []

    async def hear(ctx, body: bytes, sound: bool = True) -> None:
        events = [{"data": b} for b in body] + [{"end": 1, "sound": sound}]
        for event in events:
            ctx.set(dut.i.payload, event)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(9)

    def sealed(body: bytes) -> bytes:
        return body + zlib.crc32(body).to_bytes(4, "little")

    async def read(ctx, length: int | None = None) -> bytes:
        body = bytearray()
        while length is None or len(body) < length:
            payload = await take(ctx, dut.o)
            body.append(payload.data)
            if payload.last:
                break
        ctx.set(dut.release, 1)
        await ctx.tick()
        ctx.set(dut.release, 0)
        return bytes(body)

    async def bench(ctx) -> None:
        for body in good:
            await hear(ctx, sealed(body))
            heard.append(await read(ctx))
        assert heard == good
        # Damaged in every way: nothing comes out.
        long = bytes(range(1, 252))
        for bad, sound in (
            (sealed(good[0])[:-1], True),
            (sealed(good[0]), False),
            (sealed(b"short!"), True),
            (bytes([sealed(good[0])[0] ^ 1]) + sealed(good[0])[1:], True),
            (sealed(long), True),
        ):
            await hear(ctx, bad, sound)
        assert len(damaged) == 5
        assert not ctx.get(dut.o.valid)
        # Three frames at once: two are kept, the third is thrown away, whole.
        for body in good[:3]:
            await hear(ctx, sealed(body))
        assert len(overrun) == 1
        assert await read(ctx, length=3) == good[0][:3]  # released early
        await hear(ctx, sealed(good[4]))
        assert await read(ctx) == good[1]
        assert await read(ctx) == good[4]
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.o.valid)
        assert len(received) == len(good) + 3

    async def count(ctx) -> None:
        async for _, _, a, b, c in ctx.tick().sample(dut.damaged, dut.overrun, dut.received):
            for flag, events in ((a, damaged), (b, overrun), (c, received)):
                events.extend([1] * flag)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_process(count)
    simulator.run()
    assert len(heard) == len(good)


def test_streamed_memory_under_stalls():
    dut = StreamedMemory(rows=32, bits=9, flags=3)
    generator = random.Random(8)
    content = [generator.randrange(512) for _ in range(32)]
    asked = [(generator.randrange(32), generator.randrange(8)) for _ in range(120)]
    found = []

    async def send(ctx) -> None:
        for row, word in enumerate(content):
            ctx.set(dut.write_row, row)
            ctx.set(dut.write_data, word)
            ctx.set(dut.write, 1)
            await ctx.tick()
        ctx.set(dut.write, 0)
        items = [{"row": row, "flags": flags} for row, flags in asked]
        await put(ctx, dut.i, items, generator)

    async def listen(ctx) -> None:
        while len(found) < len(asked):
            payload = await take(ctx, dut.o, generator if len(found) < 60 else None)
            found.append((payload.data, payload.flags))

    run(dut, send, listen)
    assert found == [(content[row], flags) for row, flags in asked]


@pytest.mark.parametrize(
    ("inputs", "scan", "bits"), [(12, 4, 4), (13, 4, 8), (3, 4, 2), (5, 1, 8), (9, 3, 1)]
)
def test_samples_leave_as_they_came(inputs: int, scan: int, bits: int):
    layer = DenseParameters(
        inputs, 1, bits, 0, 8, 20, folding=Folding(lanes=1, scan=scan, slices=1)
    )
    dut = SampleBuffer(layer.ports_in[0], slots=2)
    generator = np.random.default_rng(inputs)
    data = generator.integers(0, 1 << bits, (7, layer.beats * scan))
    found: list[list[int]] = []

    async def fill(ctx) -> None:
        chance = random.Random(1)
        for n, sample in enumerate(data.tolist()):
            while not ctx.get(dut.room):
                await ctx.tick()
            for word in sample:
                assert not ctx.get(dut.complete)
                ctx.set(dut.word, word)
                ctx.set(dut.write, 1)
                await ctx.tick()
                ctx.set(dut.write, 0)
                if chance.random() < 0.5:
                    await ctx.tick()
            assert ctx.get(dut.complete)
            assert ctx.get(dut.number) == n
            ctx.set(dut.commit, 1)
            await ctx.tick()
            ctx.set(dut.commit, 0)

    async def drain(ctx) -> None:
        chance = random.Random(2)
        while len(found) < len(data):
            sample: list[int] = []
            for beat in range(layer.beats):
                payload = await take(ctx, dut.o, chance)
                sample += list(payload.words)
                assert payload.first == (beat == 0)
                assert payload.last == (beat == layer.beats - 1)
            found.append(sample)
        assert ctx.get(dut.taken) == len(data)

    run(dut, fill, drain)
    assert found == data.tolist()


@pytest.mark.parametrize(("outputs", "lanes"), [(5, 1), (5, 2), (8, 4)])
def test_results_are_kept(outputs: int, lanes: int):
    layer = DenseParameters(
        4, outputs, 4, 0, 8, 12, folding=Folding(lanes=lanes, scan=1, fire_lanes=lanes)
    )
    dut = ResultBuffer(layer, results=4)
    generator = np.random.default_rng(outputs)
    width = layer.drain_rows * lanes
    data = generator.integers(-2048, 2048, (4, width))

    async def bench(ctx) -> None:
        for n, result in enumerate(data.tolist()):
            for row in range(layer.drain_rows):
                part = result[row * lanes : (row + 1) * lanes]
                last = row == layer.drain_rows - 1
                await put(ctx, dut.i, [{"potentials": part, "first": row == 0, "last": last}])
            assert ctx.get(dut.produced) == n + 1
        for n, result in enumerate(data.tolist()):
            for index in range(outputs):
                ctx.set(dut.slot, n)
                ctx.set(dut.index, index)
                ctx.set(dut.read, 1)
                await ctx.tick()
                ctx.set(dut.read, 0)
                assert ctx.get(dut.logit) == result[index]

    run(dut, bench)


def test_default_sizes_fit_small_block_rams():
    def layer(inputs: int, scan: int) -> DenseParameters:
        return DenseParameters(inputs, 10, 8, 0, 8, 20, folding=Folding(lanes=10, scan=scan))

    assert default_slots(layer(784, 8).ports_in[0]) == 2
    assert default_slots(layer(16, 8).ports_in[0]) == 8
    assert default_slots(layer(8_000, 8).ports_in[0]) == 2
    assert default_results(layer(784, 8)) == 16
