"""Forward and backward of a convolutional network under different neurons, for T = 1 .. 16.

    python benchmarks/neuron.py [--steps 1 2 4 8 16] [--rounds 7] [--device cuda]

Six times convolution, batch norm and activation, batch 64 of 32x32. The activation is ReLU, one of
torch's fake-quantise, of SpikePack's kinds, or leaky integrate and fire by us, spikingjelly and
snntorch: see ``neuron_cases.py``. A package that is missing prints a line.

Prints, as multiples of ReLU: time, by rounds that take turns over all cases in one process, the
median of each; CPU time on one thread (other work on the machine does not count), wall time on
CUDA. Peak memory: the growth of the peak resident set during forward and backward, each case in a
process of its own, ``torch.cuda.max_memory_allocated`` on CUDA. Then how far the gradients of
learned thresholds, from 4 bits an element, are from the exact ones; the additions of an image in
the serial form, which do grow with T; and accuracies (``neuron_accuracy.py``, on the CPU, kept).
Writes build/bench/neuron/<device>.json; exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from neuron_accuracy import DATA, SEEDS, table
from neuron_cases import FLAT, STEPPED, Network, Plan, build, installed
from torch import Tensor

SIZE, BATCH, COLOURS = 32, 64, 3
PLAN: Plan = ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1))
#: Runs over T steps take T times as long and need fewer rounds: so many steps, all rounds together.
ENOUGH_STEPS = 8
#: Bars: at most so many times ReLU's time and peak; flat in T: the most of all T over the least.
TIME, MEMORY, FLAT_TIME, FLAT_MEMORY = 1.15, 1.1, 1.15, 1.02
#: Bar: so many times below LIF at this T.
BELOW_LIF, LIF_STEPS = 5.0, 8
#: Neurons with bars, and torch's counterpart.
JUDGED = {"SpikePack": "fake-quantise", "SpikePack, learned": "fake-quantise, learned"}


class Case:
    """A network with its images, ready to be run."""

    def __init__(self, name: str, steps: int, device: str) -> None:
        self.name, self.steps, self.device = name, steps, device
        torch.manual_seed(0)
        # channels last is the faster order for convolutions, on a CPU and on CUDA
        model: Any = build(name, steps, COLOURS, PLAN)
        self.model: Network = model.to(device, memory_format=torch.channels_last)
        x = torch.rand(BATCH, COLOURS, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
        self.images = x.to(device, memory_format=torch.channels_last)
        self.times: list[float] = []

    def run(self, images: int = BATCH) -> None:
        """Forward and backward once."""
        self.model(self.images[:images]).square().mean().backward()
        for parameter in self.model.parameters():
            parameter.grad = None

    def measure(self) -> None:
        """Note the time of one run."""
        clock = time.perf_counter if self.device == "cuda" else time.process_time
        self.synchronise()
        start = clock()
        self.run()
        self.synchronise()
        self.times.append(clock() - start)

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def peak_memory(name: str, steps: int, device: str) -> int | None:
    """Growth of the peak of forward and backward, bytes; None where the system does not tell."""
    torch.set_num_threads(1)
    case = Case(name, steps, device)
    if device == "cuda":
        case.run()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        case.run()
        return torch.cuda.max_memory_allocated() - before
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    case.run(2)  # compiles, and allocates what stays
    reset.write_text("5")  # the peak starts at what is resident now
    before = _status("VmRSS")
    case.run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key))
    return 1024 * int(line.split()[1])


def peaks(plan: Sequence[tuple[str, int]], device: str) -> list[int | None]:
    """``peak_memory`` of each case, in a fresh process each."""
    # tensors that are freed go back to the system at once, or the peak would count them again
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 16)
    context = multiprocessing.get_context("forkserver")
    # imported once, not in every process
    context.set_forkserver_preload(["numba", "spikeloom.neuron", "spikeloom.training"])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        found = []
        for peak in pool.map(peak_memory, *zip(*plan, strict=True), [device] * len(plan)):
            found.append(peak)
            print(f"  memory: {len(found)} of {len(plan)} cases", file=sys.stderr, flush=True)
    return found


@torch.no_grad()
def additions(steps: int, device: str) -> tuple[float, float]:
    """Work per image of the convolutions that are given words, all but the first.

    Additions of the serial form, one for each spike and synapse; multiply-adds of the parallel
    form, one for each word that is not zero and synapse.
    """
    case, counts = Case("SpikePack", steps, device), [0.0, 0.0]
    neurons = [block[2] for block in case.model.blocks]  # type: ignore[index]
    convolutions = [block[0] for block in case.model.blocks]  # type: ignore[index]
    for neuron, conv in zip(neurons[:-1], convolutions[1:], strict=True):

        def count(module: Any, inputs: Any, y: Tensor, conv: Any = conv) -> None:
            spikes = module.spikes(inputs[0])
            fan_out = conv.out_channels * 9 / conv.stride[0] ** 2  # borders aside
            counts[0] += float(spikes.sum()) * fan_out / BATCH
            counts[1] += float((y != 0).sum()) * fan_out / BATCH

        neuron.register_forward_hook(count)
    case.model(case.images)
    return counts[0], counts[1]


def gradient_error(steps: int, device: str) -> tuple[float, float]:
    """Relative error, and cosine, of all thresholds' gradients from 4 bits against the exact."""
    found = []
    for name in ("SpikePack, learned", "SpikePack, learned exact"):
        case = Case(name, steps, device)
        thresholds = [block[2].threshold for block in case.model.blocks]  # type: ignore[index]
        loss = case.model(case.images).square().mean()
        found.append(torch.cat(torch.autograd.grad(loss, thresholds)))
    packed, exact = found
    cosine = torch.nn.functional.cosine_similarity(packed, exact, dim=0)
    return float((packed - exact).norm() / exact.norm()), float(cosine)


#: (time in seconds, peak in bytes) by neuron and T; ReLU's T is 1.
Costs = dict[tuple[str, int], tuple[float, int | None]]


def measure(plan: Sequence[tuple[str, int]], device: str, rounds: int) -> Costs:
    """Time and peak of all cases."""
    found = peaks(plan, device)
    cases = [Case(name, steps, device) for name, steps in plan]
    for case in cases:
        case.run(2)  # warm
    for k in range(rounds):
        for case in cases:
            if case.name not in STEPPED or k * case.steps < ENOUGH_STEPS:
                case.measure()
        print(f"  time: round {k + 1} of {rounds}", file=sys.stderr, flush=True)
    return {
        (case.name, case.steps): (statistics.median(case.times), peak)
        for case, peak in zip(cases, found, strict=True)
    }


def bars(costs: Costs, steps: Sequence[int]) -> list[tuple[str, float, float, bool]]:
    """(What, figure, bar, whether more is better) for every bar that these cases have."""
    found: list[tuple[str, float, float, bool]] = []

    def ratio(a: tuple[str, int], b: tuple[str, int], k: int) -> float:
        above, below = costs[a][k], costs[b][k]
        return float("nan") if above is None or below is None else above / below

    relu = ("ReLU", 1)
    for name, other in JUDGED.items():
        worst = [max(ratio((name, t), relu, k) for t in steps) for k in (0, 1)]
        found += [
            (f"{name}: time over ReLU's, worst T", worst[0], TIME, False),
            (f"{name}: peak memory over ReLU's, worst T", worst[1], MEMORY, False),
            (
                f"{name}: time over that of {other}, worst T",
                max(ratio((name, t), (other, t), 0) for t in steps), 1.0, False,
            ),
        ]  # fmt: skip
        for k, what, most in ((0, "time", FLAT_TIME), (1, "peak memory", FLAT_MEMORY)):
            spread = worst[k] / min(ratio((name, t), relu, k) for t in steps)
            found.append((f"{name}: {what}, most over least of all T", spread, most, False))
        rivals = [case for case in costs if case[0] in STEPPED and case[1] == LIF_STEPS]
        if rivals and LIF_STEPS in steps:
            for k, what in ((0, "time"), (1, "peak memory")):
                least = min(ratio(rival, (name, LIF_STEPS), k) for rival in rivals)
                text = f"{name}: {what} of the least LIF at T = {LIF_STEPS} over its own"
                found.append((text, least, BELOW_LIF, True))
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Time and memory of training with SpikePack.")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each accuracy; 0: none")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--without-lif", action="store_true", help="leave multi-step neurons out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device, steps = arguments.device, arguments.steps
    if device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here", file=sys.stderr)
        return 1
    names = [*FLAT, *([] if arguments.without_lif else installed(device))]
    print(
        f"{len(PLAN)} x (convolution, batch norm, neuron), batch {BATCH}, {SIZE}x{SIZE}, float32,"
        f" forward + backward on {device}, one thread, median of {arguments.rounds} (LIF at T > 1:"
        " fewer)"
    )
    plan = [("ReLU", 1), *((name, t) for t in steps for name in names)]
    costs = measure(plan, device, arguments.rounds)
    seconds, peak = costs["ReLU", 1]
    print(f"ReLU: {seconds:.3f} s, peak {'unknown' if peak is None else f'{peak / 2**20:.0f} MiB'}")
    print("as multiples of ReLU's (time / peak memory):")
    print(f"{'':26}" + "".join(f"{f'T = {t}':>15}" for t in steps))
    for name in names:
        cells = []
        for own, most in (costs[name, t] for t in steps):
            memory = "?" if most is None or not peak else f"{most / peak:.2f}"
            cells.append(f"{own / seconds:.2f} / {memory}")
        print(f"{name:26}" + "".join(f"{cell:>15}" for cell in cells))
    errors = {t: gradient_error(t, device) for t in steps}
    for k, what in ((0, "learned: gradient's error"), (1, "  its cosine to the exact")):
        print(f"{what:26}" + "".join(f"{errors[t][k]:>15.5f}" for t in steps))
    work = {t: additions(t, device) for t in steps}
    for k, what in ((0, "serial: additions"), (1, "parallel: multiply-adds")):
        print(f"{what + ', image':26}" + "".join(f"{work[t][k] / 1e6:>13.1f} M" for t in steps))
    shares: dict[tuple[str, int], float] = {}
    if not DATA.exists():
        print(f"accuracies: left out, no {DATA}: make data")
    elif arguments.seeds:
        shares = table(names, steps, arguments.seeds)
    rows = [
        {
            "neuron": name,
            "steps": t,
            "seconds": own,
            "peak": most,
            "accuracy": shares.get((name, t)),
        }
        for (name, t), (own, most) in costs.items()
    ]
    missed = 0
    print("bars:")
    for what, figure, bar, more in bars(costs, steps):
        met = figure >= bar if more else figure <= bar
        missed += not met
        print(f"  {what}: {figure:.2f}, at {'least' if more else 'most'} {bar:g}:"
              f" {'met' if met else 'MISSED'}")  # fmt: skip
    out = Path(f"build/bench/neuron/{device}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"device": device, "cases": rows, "work": work}, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
