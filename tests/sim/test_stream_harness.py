"""The stream harness: it measures, obeys writes and stalls, and reports every kind of fault."""

import numpy as np
import pytest
from amaranth.hdl import Assert, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.errors import BuildError, InputError
from spikeloom_hdl.memory import BlockMemory
from spikeloom_sim.harness import Stalls
from spikeloom_sim.payloads import PayloadLayout
from spikeloom_sim.stream_harness import StreamHarness

SAMPLE = data.StructLayout({"value": signed(20), "tag": 40, "last": 1})
SUM = data.StructLayout({"value": signed(24), "tag": 40})
NUMBER = data.StructLayout({"number": signed(20)})

FAULTS = {
    "changes": "a waiting output changed",
    "withdraws": "a waiting output was withdrawn",
    "stops": r"nothing moves for 500 cycles, waiting for i\.ready: 100 of 2000 inputs in, 100 of",
    "deaf": "waiting for ready of a write: 0 of 2000 inputs in, 0 of 2000 outputs out, 0 of 1 w",
    "drops": "waiting for o.valid: 2000 of 2000 inputs in, 1999 of 2000 outputs out",
    "repeats": "an output after the expected 2000",
    "beside": "was taken beside a write",
    "hurries": "was taken before a write that waited",
    "waits": r"o\.valid depends on o\.ready",
    "mixes": r"o\.payload depends on o\.ready",
    "asserts": "Assertion|assert",
}


class Adder(wiring.Component):
    """Adds a number from ``p`` and twice one from ``q``, two cycles later; ``fault`` breaks it."""

    def __init__(self, fault: str = ""):
        self.fault = fault
        super().__init__(
            {
                "i": In(stream.Signature(SAMPLE)),
                "o": Out(stream.Signature(SUM)),
                "p": In(stream.Signature(NUMBER)),
                "q": In(stream.Signature(NUMBER)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fault = self.fault
        number, twice, seen = Signal(signed(20)), Signal(signed(20)), Signal(12)
        busy, valid = Signal(), Signal()
        held, out = Signal(SUM), Signal(SUM)
        advance, accept, sometimes = Signal(), Signal(), Signal()
        m.d.comb += [
            sometimes.eq(seen[:6] == 0x2A),
            advance.eq(~self.o.valid | self.o.ready),
            accept.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(valid),
            self.o.p.eq(out),
            self.i.ready.eq(advance & ~self.p.valid & ~self.q.valid),
            self.p.ready.eq(1),
            self.q.ready.eq(~self.p.valid),
        ]
        m.d.sync += seen.eq(seen + accept)
        with m.If(self.p.valid & self.p.ready):
            m.d.sync += number.eq(self.p.p.number)
        with m.If(self.q.valid & self.q.ready):
            m.d.sync += twice.eq(self.q.p.number)
        with m.If(advance):
            m.d.sync += [busy.eq(accept), valid.eq(busy), out.eq(held)]
        with m.If(accept):
            m.d.sync += held.value.eq(self.i.p.value + number + (twice << 1))
            m.d.sync += held.tag.eq(self.i.p.tag)
        blocked = self.o.valid & ~self.o.ready & sometimes
        if fault == "changes":
            with m.If(blocked):
                m.d.sync += out.value.eq(out.value ^ 1)
        elif fault == "withdraws":
            with m.If(blocked):
                m.d.sync += valid.eq(0)
        elif fault == "stops":
            with m.If(seen == 100):
                m.d.comb += self.i.ready.eq(0)
        elif fault == "deaf":
            m.d.comb += self.p.ready.eq(0)
        elif fault == "drops":
            with m.If(advance & (seen == 100) & busy):
                m.d.sync += valid.eq(0)
                m.d.sync += seen.eq(seen + 1)
        elif fault == "repeats":
            with m.If(advance & sometimes & ~accept & ~busy):
                m.d.sync += valid.eq(1)
        elif fault == "beside":
            m.d.comb += self.i.ready.eq(advance)
        elif fault == "hurries":
            m.d.comb += [self.i.ready.eq(advance), self.p.ready.eq(~self.i.valid)]
        elif fault == "waits":
            m.d.comb += self.o.valid.eq(valid & (self.o.ready | ~sometimes))
        elif fault == "mixes":
            m.d.comb += self.o.p.tag.eq(out.tag ^ self.o.ready)
        elif fault == "asserts":
            m.d.sync += Assert(seen != 100)
        return m


class Unswept(wiring.Component):
    """Answers with rows of a memory that nobody has written."""

    def __init__(self):
        row = data.StructLayout({"row": 4})
        super().__init__({"i": In(stream.Signature(row)), "o": Out(stream.Signature(row))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = BlockMemory(rows=16, bits=4)
        written = Signal()
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            ram.read.eq(self.i.valid & self.i.ready),
            ram.read_row.eq(self.i.p.row),
            self.o.p.row.eq(ram.read_data),
            ram.write.eq(written),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
        return m


@pytest.fixture(scope="module")
def cores():
    components = {fault: Adder(fault) for fault in ("", *FAULTS)}
    return StreamHarness.bundle({**components, "unswept": Unswept()})


@pytest.fixture
def adder(cores):
    return cores[""]


def samples(count, seed=1):
    rng = np.random.default_rng(seed)
    value, tag = rng.integers(-(2**19), 2**19, count), rng.integers(0, 2**40, count)
    return {"value": value, "tag": tag}


@pytest.mark.parametrize("stalls", [None, 1, Stalls(2, 0.0, 0.9), Stalls(3, 0.9, 0.0)])
def test_every_payload_comes_out_in_order(adder, stalls):
    given = samples(3000)
    result = adder.run(given, stalls=stalls, expect=3000)
    assert np.array_equal(result.outputs["value"], given["value"])
    assert np.array_equal(result.outputs["tag"], given["tag"])


def test_times_are_measured(adder):
    result = adder.run(samples(1000))
    assert len(result) == 1000
    assert np.array_equal(np.diff(result.taken), np.ones(999))
    assert (result.given - result.taken == 2).all()
    assert result.cycles == 1002
    slow = adder.run(samples(1000), stalls=Stalls(4, 0.5, 0.0))
    assert 1.8 < slow.cycles / 1000 < 2.2


@pytest.mark.parametrize("stalls", [None, 5])
def test_a_write_comes_before_its_input(adder, stalls):
    given = samples(2000)
    given["value"] //= 4
    rng = np.random.default_rng(6)
    at, numbers = np.sort(rng.integers(0, 2000, 300)), rng.integers(-(2**17), 2**17, 300)
    writes = [(at, "p", {"number": numbers}), (700, "q", {"number": 5}), (2000, "q", {"number": 9})]
    result = adder.run(given, writes=writes, stalls=stalls, expect=2000)
    # the last of several writes before one input counts
    last = np.searchsorted(at, np.arange(2000), side="right") - 1
    number = np.where(last < 0, 0, numbers[last])
    wanted = given["value"] + number + 10 * (np.arange(2000) >= 700)
    assert np.array_equal(result.outputs["value"], wanted)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(cores, fault):
    # "hurries" takes an input while the write waits, if it is there first
    at = 0 if fault == "deaf" else np.arange(1, 2000, 50)
    writes = [] if fault in ("stops", "drops", "repeats") else [(at, "p", {"number": 3})]
    # without pauses of the consumer only a look at the other ready can find these
    stalls = None if fault in ("waits", "mixes") else 7
    with pytest.raises(BuildError, match=FAULTS[fault]) as caught:
        cores[fault].run(samples(2000), writes=writes, stalls=stalls, expect=2000, patience=500)
    assert f"{fault} failed in simulation" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_run(adder):
    result = adder.run(samples(0), expect=0)
    assert len(result) == 0
    assert result.cycles == 0


def test_memories_power_up_with_anything(cores):
    rows = {"row": np.arange(16)}
    a, b, c = (cores["unswept"].run(rows, memory_seed=seed).outputs["row"] for seed in (1, 2, 1))
    assert not np.array_equal(a, b)
    assert np.array_equal(a, c)


@pytest.mark.parametrize(
    ("inputs", "writes", "message"),
    [
        ({"valu": [1]}, [], "no field valu: there are value, tag, last"),
        ({"value": [1, 2], "tag": [1]}, [], r"must be of one length"),
        ({"value": [0, 1 << 19]}, [], "value 524288 of payload 1 is outside -524288..524287"),
        ({"tag": [-1]}, [], "tag -1 of payload 0 is outside 0.."),
        ({"value": [0.5]}, [], "field value must be integers, not float64"),
        ({"value": [0]}, [(0, "r", {})], "no stream 'r' to write: there are p, q"),
        ({"value": [0]}, [(2, "p", {"number": 1})], "a write before input 2: there are 1 inputs"),
        ({"value": [0]}, [(0, "p", {"number": 1 << 19})], "number 524288 of payload 0 is outside"),
    ],
)
def test_wrong_data_are_refused(adder, inputs, writes, message):
    with pytest.raises(InputError, match=message):
        adder.run(inputs, writes=writes)


def test_a_core_without_the_streams_is_refused():
    with pytest.raises(InputError, match="BlockMemory has no stream i and o"):
        StreamHarness(BlockMemory(rows=2, bits=1))


def test_payloads_of_any_width_are_packed_as_amaranth_does():
    fields = {"a": signed(3), "b": 33, "c": signed(63), "d": 1, "e": signed(30)}
    layout = data.StructLayout(fields)
    packer = PayloadLayout(layout)
    rng = np.random.default_rng(8)
    values = {}
    for name, shape in fields.items():
        width, low = (
            (shape, 0) if isinstance(shape, int) else (shape.width, -(2 ** (shape.width - 1)))
        )
        values[name] = rng.integers(low, low + 2**width - 1, 50, endpoint=True)
    words = packer.pack(values)
    assert words.shape == (50, 5)
    for k in (0, 17, 49):
        number = sum(int(word) << (32 * place) for place, word in enumerate(words[k]))
        assert (
            number == layout.const({name: int(v[k]) for name, v in values.items()}).as_value().value
        )
    for name, column in packer.unpack(words).items():
        assert np.array_equal(column, values[name])
