"""cocotb bench for test_streams.py: words go through a register slice and come out the same."""

import cocotb
from spikeloom_sim.streams import Bench, StreamDriver, StreamSink, differing


@cocotb.test()
async def words_pass(dut):
    bench = Bench(dut)
    source = StreamDriver(bench, "i", stall=0.3)
    sink = StreamSink(bench, "o", stall=0.3)
    await bench.start()
    words = [bench.random.getrandbits(8) for _ in range(2000)]
    source.send(words)
    await bench.until(lambda: len(sink.received) == len(words), cycles=20_000, what="all words")
    assert differing(sink.received, words) == 0
    bench.report(f"{len(words)} words in {bench.cycle} cycles")


@cocotb.test()
async def shy_sink(dut):
    bench = Bench(dut)
    source = StreamDriver(bench, "i")
    sink = StreamSink(bench, "o", shy=True)
    await bench.start()
    source.send(range(100))
    await bench.until(lambda: len(sink.received) == 100, cycles=1_000, what="all words")
    assert sink.received == list(range(100))
