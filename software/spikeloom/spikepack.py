"""SpikePack with tau = 2 as pure integer functions on torch tensors, in all its forms.

A packed word of T bits holds T spikes, the first step in the most significant bit.

Source: SpikePack (arXiv 2501.14484v2), Eq. 3-9, with two corrections. The reset subtracts the
threshold that fired (the printed index subtracts the next one, which makes all but T+1 codes
unreachable), and a spike needs ``v >= threshold`` (the printed ``>`` loses one code on exact
multiples).

Accumulate: :func:`accumulate_packed`, :func:`accumulate_serial`, :func:`accumulate_horner`.
Fire: :func:`fire` (parallel) and :func:`fire_serial`, with :func:`pack_spikes` and
:func:`unpack_words` between words and spikes. All forms of a step have the same bits.
"""

from __future__ import annotations

import torch

__all__ = [
    "EXACT",
    "accumulate_horner",
    "accumulate_packed",
    "accumulate_serial",
    "fire",
    "fire_serial",
    "pack_spikes",
    "unpack_words",
]

#: Integers of a smaller magnitude are exact in float64.
EXACT = 1 << 53


def _check_steps(steps: int) -> None:
    if not (isinstance(steps, int) and 1 <= steps <= 16):
        raise ValueError(f"steps must be an integer in 1..16, not {steps!r}")


def _check_integers(**tensors: torch.Tensor) -> None:
    for name, x in tensors.items():
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise TypeError(f"{name} must be integers, not {x.dtype}")


def _threshold(threshold: torch.Tensor | int, v: torch.Tensor) -> torch.Tensor:
    theta = torch.as_tensor(threshold, device=v.device)
    _check_integers(threshold=theta)
    if bool((theta < 1).any()):
        raise ValueError("threshold must be at least 1")
    return theta.to(torch.int64)


def fire(
    v0: torch.Tensor, threshold: torch.Tensor | int, steps: int, *, signed: bool = False
) -> torch.Tensor:
    """Fire, parallel form: clip(floor(v0 / threshold), 0, 2^T - 1), int64, shape of ``v0``.

    v0: integers of any shape. threshold: integers >= 1, broadcast against v0 (per channel: last
    axis). signed: words are two's complement, clipped to -2^(T-1) .. 2^(T-1) - 1.
    """
    _check_steps(steps)
    _check_integers(v0=v0)
    theta = _threshold(threshold, v0)
    quotient = torch.div(v0.to(torch.int64), theta, rounding_mode="floor")
    if signed:
        return quotient.clamp(-(1 << (steps - 1)), (1 << (steps - 1)) - 1)
    return quotient.clamp(0, (1 << steps) - 1)


def fire_serial(
    v0: torch.Tensor, threshold: torch.Tensor | int, steps: int, *, signed: bool = False
) -> torch.Tensor:
    """Fire, serial form: T compare-and-subtract steps. Returns spikes, uint8 (T, *v0.shape).

    The definition: at step t the neuron spikes if v >= theta * 2^(T-t), and then subtracts the
    threshold that fired. signed: add theta * 2^(T-1), fire, invert the first spike; the first
    spike then weighs -2^(T-1).
    """
    _check_steps(steps)
    _check_integers(v0=v0)
    theta = _threshold(threshold, v0)
    v, theta = torch.broadcast_tensors(v0.to(torch.int64), theta)
    if signed:
        v = v + (theta << (steps - 1))
    spikes = []
    for t in range(1, steps + 1):
        level = theta << (steps - t)
        s = v >= level
        v = v - torch.where(s, level, 0)
        spikes.append(s)
    out = torch.stack(spikes).to(torch.uint8)
    if signed:
        out[0] ^= 1
    return out


def pack_spikes(spikes: torch.Tensor, *, signed: bool = False) -> torch.Tensor:
    """Pack spikes (T, ...) of 0 and 1, first step first, into int64 words (...)."""
    steps = spikes.shape[0]
    word = torch.zeros(spikes.shape[1:], dtype=torch.int64, device=spikes.device)
    for s in spikes:
        word = 2 * word + s.to(torch.int64)
    if signed:
        word = word - (spikes[0].to(torch.int64) << steps)
    return word


def unpack_words(words: torch.Tensor, steps: int) -> torch.Tensor:
    """Unpack words (...) into spikes, uint8 (T, ...), first step (most significant bit) first."""
    _check_steps(steps)
    _check_integers(words=words)
    return torch.stack([(words >> (steps - t)) & 1 for t in range(1, steps + 1)]).to(torch.uint8)


def accumulate_packed(words: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Multiply words (..., inputs) by integer weights (outputs, inputs): int64 (..., outputs).

    Runs as a float64 matrix product, which is exact below 2^53 and many times as fast as int64;
    OverflowError if the magnitudes could pass that.
    """
    _check_integers(words=words, weight=weight)
    top = int(words.abs().max()) if words.numel() else 0
    w = weight.to(torch.float64)
    if w.numel() and top * int(w.abs().sum(-1).max()) >= EXACT:
        raise OverflowError("accumulate: potentials could pass 2^53 and lose exactness")
    return (words.to(torch.float64) @ w.T).to(torch.int64)


def accumulate_serial(words: torch.Tensor, weight: torch.Tensor, steps: int) -> torch.Tensor:
    """Add ``w << (T - t)`` for every spike, in any order: what spiking hardware does."""
    w = weight.to(torch.int64)
    shape = (*words.shape[:-1], w.shape[0])
    v = torch.zeros(shape, dtype=torch.int64, device=words.device)
    for t, plane in enumerate(unpack_words(words, steps), start=1):
        v = v + accumulate_packed(plane, w << (steps - t))
    return v


def accumulate_horner(words: torch.Tensor, weight: torch.Tensor, steps: int) -> torch.Tensor:
    """Accumulate spike plane by spike plane, m = 2 m + plane @ weight: the reference form."""
    shape = (*words.shape[:-1], weight.shape[0])
    m = torch.zeros(shape, dtype=torch.int64, device=words.device)
    for plane in unpack_words(words, steps):
        m = 2 * m + accumulate_packed(plane, weight)
    return m
