"""The scalar oracle: plain Python integers, straight from the four lines of the specification.

It shares no code with the package, so that a common misunderstanding cannot hide.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest


def accumulate(weights: list[int], words: list[int], bias: int) -> int:
    total = bias
    for w, p in zip(weights, words, strict=True):
        total += w * p
    return total


def fire_spikes(v0: int, theta: int, steps: int, signed: bool = False) -> list[int]:
    v = v0 + (theta * 2 ** (steps - 1) if signed else 0)
    spikes = []
    for t in range(1, steps + 1):
        level = theta * 2 ** (steps - t)
        s = 1 if v >= level else 0
        v -= s * level
        spikes.append(s)
    if signed:
        spikes[0] = 1 - spikes[0]
    return spikes


def word(spikes: list[int], signed: bool = False) -> int:
    steps = len(spikes)
    total = 0
    for t, s in enumerate(spikes, start=1):
        weight = 2 ** (steps - t)
        total += s * (-weight if signed and t == 1 else weight)
    return total


def run(layers: list[tuple[list[list[int]], list[int], list[int] | None, int]], words: list[int]):
    """Layers are (weights, biases, thresholds or None, steps); (potentials, words) of each."""
    result = []
    for weights, biases, thetas, steps in layers:
        v = [accumulate(row, words, b) for row, b in zip(weights, biases, strict=True)]
        if thetas is None:
            result.append((v, None))
        else:
            words = [word(fire_spikes(x, theta, steps)) for x, theta in zip(v, thetas, strict=True)]
            result.append((v, words))
    return result


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small matrices: more threads only wait for each other when tests run in parallel."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def oracle() -> SimpleNamespace:
    return SimpleNamespace(accumulate=accumulate, fire_spikes=fire_spikes, word=word, run=run)
