"""The rivals' own converters on the pretrained networks of ``pretrained.py``, as they are.

    python benchmarks/pretrained_rivals.py [--tasks mobilenet centerface unet] [--steps 8]
        [--out build/bench/pretrained_rivals.json]

spikingjelly and sinabs get the same network, calibration pictures and test pictures, and T steps
of a constant input; their outputs are the mean of the steps. A row says what came of it: the first
line of what was raised; or how many activations became spiking, which ones silently stayed what
they were, and the task's own measure.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pretrained import TASKS
from torch import Tensor, nn

HELP = (
    "not installed: pip install --no-deps spikingjelly==2.0.0 sinabs==3.1.3 loguru pbr requests"
    " urllib3 idna certifi charset-normalizer tqdm h5py scipy matplotlib packaging"
)
#: Activations that a converter has to make spiking.
_ACTIVATIONS = ("ReLU", "ReLU6", "PReLU", "Sigmoid", "Hardtanh")
_PICTURES = 8  #: calibration pictures
#: Tasks whose samples are pictures.
OURS = ("mobilenet", "centerface", "unet")


def _spikingjelly(model: nn.Module, pictures: Tensor) -> tuple[nn.Module, Callable[[], Any]]:
    from spikingjelly.activation_based import ann2snn, functional  # type: ignore[import-not-found]

    recipe = ann2snn.RateCodingRecipe(
        list(pictures.split(4)), mode="99.9%", channel_wise=True, half_threshold=True,
        pre_spike_maxpool=True,
    )  # fmt: skip
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        snn = ann2snn.FXConverter(recipe).convert(model).eval()
    return snn, lambda: functional.reset_net(snn)


def _sinabs(model: nn.Module, _pictures: Tensor) -> tuple[nn.Module, Callable[[], Any]]:
    from sinabs.activation import MembraneSubtract, MultiSpike  # type: ignore[import-not-found]
    from sinabs.from_torch import from_model  # type: ignore[import-not-found]
    from sinabs.utils import reset_states  # type: ignore[import-not-found]

    snn = from_model(
        model, spike_fn=MultiSpike, reset_fn=MembraneSubtract(), min_v_mem=-1.0, num_timesteps=1
    ).spiking_model
    return snn, lambda: reset_states(snn)


RIVALS = {"spikingjelly": _spikingjelly, "sinabs": _sinabs}


class Stepped(nn.Module):
    """A rival's network, T steps of a constant input; the mean of its outputs."""

    def __init__(self, snn: nn.Module, reset: Callable[[], Any], steps: int) -> None:
        super().__init__()
        self.snn, self.reset, self.steps = snn, reset, steps

    def forward(self, x: Tensor) -> Any:
        """Return what the network returns, averaged."""
        self.reset()
        outputs = [self.snn(x) for _ in range(self.steps)]
        if isinstance(outputs[0], Tensor):
            return torch.stack(outputs).mean(0)
        return tuple(torch.stack(parts).mean(0) for parts in zip(*outputs, strict=True))


def _analog(module: nn.Module) -> Counter[str]:
    kinds = (type(m).__name__ for m in module.modules())
    return Counter(kind for kind in kinds if kind in _ACTIVATIONS)


def _first_line(error: BaseException) -> str:
    said = re.sub(r" at 0x[0-9a-f]+", "", str(error)).strip().splitlines()
    return f"{type(error).__name__}: {said[0] if said else ''}"


@torch.no_grad()
def row(rival: str, name: str, steps: int) -> dict[str, Any]:
    """What a rival makes of a network."""
    task = TASKS[name]
    model, found = task.model(), {"task": name, "rival": rival, "steps": steps}
    before = _analog(model)
    try:
        snn, reset = RIVALS[rival](task.model(), task.calibration()[:_PICTURES])
    except ModuleNotFoundError as error:
        raise SystemExit(f"{rival}: {error}; {HELP}") from error
    except Exception as error:  # whatever it raises is the result
        return found | {"converts": False, "problem": _first_line(error)}
    left = _analog(snn)
    found |= {
        "converts": True,
        "activations": sum(before.values()),
        "left": {kind: n for kind, n in left.items() if n},
        "spiking": sum(before.values()) - sum(left.values()),
    }
    try:
        if not found["spiking"]:
            return found | {"problem": "nothing spikes: it is the network that was given"}
        return found | task.measure(Stepped(snn, reset, steps), task.prepare(model))
    except Exception as error:
        return found | {"problem": _first_line(error)}


def text(found: dict[str, Any]) -> str:
    """One line of a row."""
    parts = [f"{found['task']:<11}{found['rival']:<13}T={found['steps']:<3}"]
    if found["converts"]:
        left = ", ".join(f"{n} {kind}" for kind, n in found["left"].items()) or "none"
        parts.append(f"spiking {found['spiking']} of {found['activations']}, left analog: {left} ")
    if "problem" in found:
        parts.append(found["problem"])
    parts += [f"{k} {v:.4g}" for k, v in found.items() if isinstance(v, float)]
    return " ".join(parts)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="What rivals make of the pretrained networks.")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(OURS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("build/bench/pretrained_rivals.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for rival in RIVALS:
        if importlib.util.find_spec(rival) is None:
            print(f"{rival}: {HELP}")
            continue
        for name in arguments.tasks:
            rows.append(row(rival, name, arguments.steps))
            print(text(rows[-1]), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
