"""Forward and backward of a convolutional network under different neurons, for T = 1 .. 16.

    python benchmarks/neuron.py [--steps 1 2 4 8 16] [--rounds 7] [--device cuda]

Six times convolution, batch norm and activation, batch 64 of 32x32. The activation is ReLU, torch's
fake-quantise (one scale, a scale a channel, a learned scale), SpikePack (fixed, a threshold a
channel, learned lean, learned exact), our LIF, and the LIF of spikingjelly and of snntorch, each
with its fastest backend here: a package that is missing prints a line.

Prints ratios to ReLU. Time: rounds take turns over all cases in one process, the median of each;
CPU time on one thread (other work on the machine does not count), wall time on CUDA. Memory, two
ways: the growth of the peak resident set during forward and backward, each case in a process of its
own (``torch.cuda.max_memory_allocated`` on CUDA), and the bytes that autograd saves, parameters
left out, every storage once. Also prints how many additions an image costs in the serial form,
which do grow with T. Writes JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from spikeloom import SpikePack
from spikeloom.lif import LIF
from torch import Tensor, nn

SIZE, BATCH, CLASSES = 32, 64, 10
#: (outputs, stride) of the convolutions.
PLAN = ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1))
#: Greatest activation that a word holds: batch norm gives few beyond.
FULL = 4.0


class Network(nn.Module):
    """The network; steps > 0: every layer is given T steps at once, (T, n, ...)."""

    def __init__(self, activation: Callable[[int], nn.Module], steps: int = 0) -> None:
        super().__init__()
        self.steps, inputs, layers = steps, 3, []
        for outputs, stride in PLAN:
            conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            layers.append(nn.ModuleList([conv, nn.BatchNorm2d(outputs), activation(outputs)]))
            inputs = outputs
        self.blocks, self.head = nn.ModuleList(layers), nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, classes)."""
        if self.steps:  # the same image every step, as is usual
            x = x.expand(self.steps, *x.shape).flatten(0, 1)
        for block in self.blocks:
            conv, norm, activation = block  # type: ignore[misc]
            x = norm(conv(x))
            if self.steps:
                # flattening what a step gives keeps the order of memory of a convolution
                x = activation(x.unflatten(0, (self.steps, -1))).flatten(0, 1)
            else:
                x = activation(x)
        y = self.head(x.mean((2, 3)))
        return y.unflatten(0, (self.steps, -1)).mean(0) if self.steps else y


class FakeQuantise(nn.Module):
    """Torch's fake-quantise to T bits. kind: ``tensor``, ``channel`` or ``learned``."""

    def __init__(self, kind: str, channels: int, steps: int) -> None:
        super().__init__()
        self.kind, self.top = kind, (1 << steps) - 1
        count = channels if kind == "channel" else 1
        scale = torch.full((count,), FULL / self.top)
        if kind == "learned":
            self.scale = nn.Parameter(scale)
        else:
            self.register_buffer("scale", scale)
        zero = torch.float32 if kind == "learned" else torch.int32
        self.register_buffer("zero", torch.zeros(count, dtype=zero))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        s, z, top = self.scale, self.zero, self.top
        if self.kind == "tensor":
            return torch.fake_quantize_per_tensor_affine(x, s, z, 0, top)
        if self.kind == "channel":
            return torch.fake_quantize_per_channel_affine(x, s, z, 1, 0, top)
        return torch._fake_quantize_learnable_per_tensor_affine(x, s, z, 0, top, 1.0)


class SnnTorch(nn.Module):
    """Its Leaky, step by step: it has no multi-step form for images."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.neuron = snntorch.Leaky(0.5, reset_mechanism="subtract")

    def forward(self, x: Tensor) -> Tensor:
        """(T, n, ...)."""
        state, spikes = self.neuron.reset_mem(), []
        for current in x:
            spike, state = self.neuron(current, state)
            spikes.append(spike)
        return torch.stack(spikes)


class SpikingJelly(nn.Module):
    """Its LIFNode in multi-step mode, which chooses its backend itself."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        options = {"v_reset": None, "detach_reset": True, "step_mode": "m"}
        self.neuron = neuron.LIFNode(2.0, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(T, n, ...)."""
        self.neuron.reset()
        return self.neuron(x)


#: Neurons whose cost is to be flat in T.
FLAT = (
    "fake-quantise",
    "fake-quantise, channel",
    "fake-quantise, learned",
    "SpikePack",
    "SpikePack, channel",
    "SpikePack, learned lean",
    "SpikePack, learned exact",
)
#: Neurons with T steps, and the packages that they need.
STEPPED = {"LIF (ours)": "", "LIF (spikingjelly)": "spikingjelly", "LIF (snntorch)": "snntorch"}


def build(name: str, steps: int) -> Network:
    """Return the network of a case."""
    theta = FULL / ((1 << steps) - 1)
    makers: dict[str, Callable[[int], nn.Module]] = {
        "ReLU": lambda c: nn.ReLU(),
        "fake-quantise": lambda c: FakeQuantise("tensor", c, steps),
        "fake-quantise, channel": lambda c: FakeQuantise("channel", c, steps),
        "fake-quantise, learned": lambda c: FakeQuantise("learned", c, steps),
        "SpikePack": lambda c: SpikePack(steps, theta, rounding=True),
        "SpikePack, channel": lambda c: SpikePack(steps, torch.full((c,), theta), rounding=True),
        "SpikePack, learned lean": lambda c: SpikePack(
            steps, torch.full((c,), theta), rounding=True, trainable=True, lean=True
        ),
        "SpikePack, learned exact": lambda c: SpikePack(
            steps, torch.full((c,), theta), rounding=True, trainable=True
        ),
        "LIF (ours)": lambda c: LIF(0.5),
        "LIF (spikingjelly)": lambda c: SpikingJelly(),
        "LIF (snntorch)": lambda c: SnnTorch(),
    }
    torch.manual_seed(0)
    return Network(makers[name], steps if name in STEPPED else 0)


class Case:
    """A network with its images, ready to be run."""

    def __init__(self, name: str, steps: int, device: str) -> None:
        self.name, self.steps, self.device = name, steps, device
        # channels last is the faster order for convolutions, on a CPU and on CUDA
        model: Any = build(name, steps)
        self.model: Network = model.to(device, memory_format=torch.channels_last)
        x = torch.rand(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
        self.images = x.to(device, memory_format=torch.channels_last)
        self.times: list[float] = []

    def run(self) -> None:
        """Forward and backward once."""
        self.model(self.images).square().mean().backward()
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

    def saved_bytes(self) -> int:
        """Bytes of the storages that autograd keeps for the backward, but for parameters."""
        own = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        kept: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            out = self.model(self.images)  # alive, so that no address is used twice
        del out
        return sum(kept.values())


def peak_memory(case: Case) -> int:
    """Growth of the peak of forward and backward, bytes."""
    if case.device == "cuda":
        case.run()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        case.run()
        return torch.cuda.max_memory_allocated() - before
    images = case.images
    case.images = images[:2]
    case.run()  # compiles, and allocates what stays
    case.images = images
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at what is resident now
    before = _status("VmRSS")
    case.run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key))
    return 1024 * int(line.split()[1])


def in_a_process(name: str, steps: int, device: str) -> int | None:
    """``peak_memory`` in a fresh process; None where the system does not tell."""
    command = [sys.executable, __file__, "--peak", name, str(steps), "--device", device]
    # tensors that are freed go back to the system at once, or the peak would count them again
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1:], file=sys.stderr)
        return None
    return int(done.stdout.split()[-1])


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


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Time and memory of training with SpikePack.")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--without-lif", action="store_true", help="leave multi-step neurons out")
    parser.add_argument("--out", type=Path, default=Path("build/bench/neuron.json"))
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "T"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = arguments.device
    if arguments.peak:
        print(peak_memory(Case(arguments.peak[0], int(arguments.peak[1]), device)))
        return 0
    if device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here", file=sys.stderr)
        return 1
    names = [*FLAT]
    for name, package in () if arguments.without_lif else STEPPED.items():
        if package and importlib.util.find_spec(package) is None:
            print(f"{name}: not installed, pip install {package}")
        else:
            names.append(name)
    plan = [("ReLU", 1), *((name, steps) for steps in arguments.steps for name in names)]
    print(
        f"{len(PLAN)} x (convolution, batch norm, neuron), batch {BATCH}, {SIZE}x{SIZE}, float32,"
        f" forward + backward on {device}, one thread, median of {arguments.rounds}"
    )
    cases = [Case(name, steps, device) for name, steps in plan]
    for case in cases:
        case.run()  # warm
    for k in range(arguments.rounds):
        for case in cases:
            # runs over T steps take T times as long, and need fewer rounds
            if case.name in FLAT or case.name == "ReLU" or k < 3:
                case.measure()
    rows: list[dict[str, Any]] = []
    for case in cases:
        row: dict[str, Any] = {"neuron": case.name, "steps": case.steps}
        row["seconds"], row["saved"] = statistics.median(case.times), case.saved_bytes()
        row["peak"] = in_a_process(case.name, case.steps, device)
        rows.append(row)
    base = rows[0]
    print(f"ReLU: {base['seconds']:.3f} s, {_mib(base['saved'])} saved, peak {_mib(base['peak'])}")
    print("as multiples of ReLU's (time / peak memory / saved for the backward):")
    print(f"{'':26}" + "".join(f"{f'T = {steps}':>20}" for steps in arguments.steps))
    for name in names:
        line = f"{name:26}"
        for row in (r for r in rows if r["neuron"] == name):
            ratios = [row[k] / base[k] if row[k] and base[k] else float("nan") for k in
                      ("seconds", "peak", "saved")]  # fmt: skip
            line += f"{' / '.join(f'{r:.2f}' for r in ratios):>20}"
        print(line)
    work = {steps: additions(steps, device) for steps in arguments.steps}
    for k, what in ((0, "serial: additions"), (1, "parallel: multiply-adds")):
        cells = "".join(f"{work[steps][k] / 1e6:>18.1f} M" for steps in arguments.steps)
        print(f"{what + ', image':26}{cells}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"device": device, "cases": rows, "work": {str(k): v for k, v in work.items()}}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _mib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**20:.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
