"""What ``fashion.py`` computes for a network and a training seed, each piece kept in a file.

A piece is a few arrays, first of all decisions on all pictures. Its file is named after everything
that it depends on, the code too, so that a run which was stopped goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import fashion_baseline
import fashion_rivals
import numpy as np
import spikeloom as sl
import torch
from fashion_models import NETS, Net, key, pictures, trained
from numpy.typing import NDArray
from spikeloom.conversion import FINE_TUNE, SpikingNetwork, fine_tune
from spikeloom.data import Images, spread
from spikeloom.training import predict
from torch import nn

STEPS = range(1, 9)
RIVAL_STEPS = (1, 2, 4, 8, 16, 32, 64)
#: Where weights are also fitted to the ANN's potentials, and to how many pictures without labels.
FITTED_STEPS, FITTED = (1, 2), 25_000
#: Fine-tuning at T = 2, with labels.
TUNE = replace(FINE_TUNE, updates=1000, rate=2e-3)

Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class Protocol:
    """What is run: all that changes a figure.

    calibration: training pictures without labels, for everybody. rival_pictures: the first ones of
    the test part, for the rivals and for adds. held_out: measure on held-out training pictures
    instead of the test part. updates: of training, instead of the recipes' own.
    """

    folder: str
    build: Path
    calibration: int = 1000
    rival_seeds: int = 2
    rival_pictures: int = 2000
    held_out: bool = False
    updates: int | None = None


@functools.lru_cache(1)
def _data(folder: str, held_out: bool) -> Images:
    return pictures(folder)[held_out]


@functools.lru_cache
def _code(*names: str) -> str:
    """Key of the sources of some modules and packages of Spikeloom."""
    root = Path(str(sl.__file__)).parent
    found = [p for name in names for p in sorted(root.glob(name))]
    return key([p.read_bytes() for p in found])


_CONVERSION = ("conversion/*.py", "neuron.py")


class Bench:
    """One trained network, and its pieces."""

    def __init__(self, protocol: Protocol, net: Net, seed: int, say: Callable[[str], None]):
        self.protocol, self.net, self.seed, self.say = protocol, net, seed, say
        self.data = _data(protocol.folder, protocol.held_out)
        self.calibration = spread(self.data.train_images, protocol.calibration)
        self.model = trained(net, seed, self.data, protocol.build, protocol.updates, say)
        state = [v.numpy().tobytes() for v in self.model.state_dict().values()]
        test = len(self.data.test_images), self.data.name
        self.base = key(state, test, protocol.calibration, protocol.rival_pictures)

    def piece(self, name: str, code: str, compute: Callable[[], Arrays]) -> Arrays:
        """Load a piece, or compute it and keep it."""
        folder = self.protocol.build / "pieces"
        file = f"{self.net.name}-{self.seed}-{name}-{key(self.base, code)}.npz"
        path = folder / file.replace(" ", "-")
        if not path.is_file():
            self.say(f"{self.net.name} seed {self.seed}: {name}")
            arrays = compute()
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npz")  # a file that is there is whole
            np.savez(part, allow_pickle=False, **arrays)
            part.replace(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def ann(self) -> Arrays:
        """What the trained network decides."""
        return {"decisions": predict(self.model, self.data.test_images)}

    def convert(self, steps: int) -> SpikingNetwork:
        """Convert with what ``convert`` does by default."""
        snn = sl.convert(self.model, self.calibration, steps=steps, integers=True)
        assert isinstance(snn, SpikingNetwork)
        return snn

    def integers(self, network: sl.Network) -> Arrays:
        """What integers decide on all pictures; what they cost on the rivals' pictures."""
        network.check_accumulators()
        few = self.data.test_images[: self.protocol.rival_pictures]
        adds, first = fashion_rivals.spikepack(network, few)
        decisions = network.run(self.data.test_images).argmax(1)
        return {"decisions": decisions, "adds": np.array(adds), "first": np.array(first)}

    def tuned(self, steps: int) -> Arrays:
        """Integers after fine-tuning on the training part, with labels."""
        images, labels = self.data.train_images, self.data.train_labels
        snn = fine_tune(self.convert(steps), images, labels, TUNE, seed=self.seed)
        return self.integers(sl.lower(snn))

    def fitted(self, steps: int) -> Arrays:
        """Integers whose weights were fitted to the ANN's potentials; no labels, no retraining."""
        images = spread(self.data.train_images, FITTED)
        network = sl.lower(self.convert(steps), reconstruct=images, original=self.model)
        return self.integers(network)

    def quantised(self, bits: int) -> Arrays:
        """What the iso-bit quantised network decides."""
        model: nn.Module = fashion_baseline.iso_bit(self.model, self.calibration, bits)
        return {"decisions": predict(model, self.data.test_images)}

    def rival(self, name: str) -> Arrays:
        """Decisions and adds of a rival after each T; rows in the order of RIVAL_STEPS."""
        few = self.data.test_images[: self.protocol.rival_pictures]
        run = fashion_rivals.rival(name, self.model, self.calibration, few, RIVAL_STEPS)
        return {
            field: np.array([getattr(run, field)[t] for t in RIVAL_STEPS])
            for field in ("decisions", "adds", "first")
        }

    def all(self) -> dict[str, Arrays]:
        """Every piece, by name."""
        conversion = _code(*_CONVERSION)
        tuning = _code(*_CONVERSION, "training.py") + repr(TUNE)
        here = key(*(Path(m.__file__ or "").read_bytes() for m in (fashion_baseline,)))
        found = {"ann": self.piece("ann", "", self.ann)}
        for t in STEPS:
            found[f"T{t}"] = self.piece(
                f"T{t}", conversion, lambda t=t: self.integers(sl.lower(self.convert(t)))
            )
            found[f"iso{t}"] = self.piece(f"iso{t}", here, lambda t=t: self.quantised(t))
        for t in FITTED_STEPS:
            code = f"{conversion} {FITTED}"
            found[f"T{t} fitted"] = self.piece(f"T{t} fitted", code, lambda t=t: self.fitted(t))
        found["T4 W4"] = self.piece(
            "T4 W4", conversion,
            lambda: self.integers(sl.lower(self.convert(4), 4, reconstruct=self.calibration)),
        )  # fmt: skip
        found["T2 tuned"] = self.piece("T2 tuned", tuning, lambda: self.tuned(2))
        if self.seed < self.protocol.rival_seeds:
            for name in fashion_rivals.RIVALS:
                if name not in fashion_rivals.missing():
                    code = key(Path(fashion_rivals.__file__).read_bytes(), RIVAL_STEPS)
                    found[name] = self.piece(name, code, lambda name=name: self.rival(name))
        return found


def run(protocol: Protocol, net: str, seed: int) -> dict[str, Arrays]:
    """All pieces of a network and a seed; one thread. For a process of its own."""
    torch.set_num_threads(1)
    return Bench(protocol, NETS[net], seed, lambda line: print(line, flush=True)).all()
