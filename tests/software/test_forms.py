"""One network, many forms: packed words, spikes one plane after another, Horner, floats.

Whole networks run in each form on their own words, and every layer is compared with the integer
network's. A picture of the forms is in :mod:`spikeloom.spikepack`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom import SpikePack
from spikeloom.data import as_rgb32, mnist_5k, motion_windows
from spikeloom.network import Network
from spikeloom.ops import Conv2d
from spikeloom.shipped import names, open_network
from spikeloom.spikepack import (
    accumulate_horner,
    accumulate_packed,
    accumulate_serial,
    fire,
    fire_serial,
    pack_spikes,
    unpack_words,
)
from spikeloom_sim.random_network import (
    BLOCKS,
    random_conv_network,
    random_network,
    random_words,
    reference_trace,
)
from torch import Tensor
from torch.nn import functional


class Form(NamedTuple):
    """accumulate: (words, weight, T in) to potentials. fire: (potentials, threshold, T) to words.

    Potentials are (n, channels, ...), thresholds shaped to meet them.
    """

    accumulate: Callable[[Tensor, Tensor, int], Tensor]
    fire: Callable[[Tensor, Tensor, int], Tensor]


def adds_in_any_order(words: Tensor, weight: Tensor, steps: int) -> Tensor:
    """``w << (T - t)`` for every spike, the last step first."""
    planes = unpack_words(words, steps)
    v = torch.zeros(*words.shape[:-1], len(weight), dtype=torch.int64)
    for t in range(steps, 0, -1):
        v += accumulate_packed(planes[t - 1], weight.to(torch.int64) << (steps - t))
    return v


def neuron(v: Tensor, theta: Tensor, steps: int, dtype: torch.dtype) -> tuple[SpikePack, Tensor]:
    """The torch module of a layer, and its potentials as floats that hold them exactly."""
    one = SpikePack(steps, theta.flatten().float())
    one.threshold = theta.flatten().to(dtype)
    assert int(v.abs().max()) < 1 << (24 if dtype == torch.float32 else 53)
    return one, v.to(dtype)


def exact(v: Tensor) -> torch.dtype:
    return torch.float32 if int(v.abs().max()) < 1 << 24 else torch.float64


def fire_module(v: Tensor, theta: Tensor, steps: int) -> Tensor:
    one, x = neuron(v, theta, steps, exact(v))
    y = one(x)
    assert torch.equal(y, one.pack(x).to(y.dtype) * theta)
    return (y / theta).to(torch.int64)


def fire_module_serial(v: Tensor, theta: Tensor, steps: int) -> Tensor:
    one, x = neuron(v, theta, steps, exact(v))
    return pack_spikes(one.spikes(x))


#: The definitions, in every combination that somebody runs.
FORMS = {
    "packed": Form(lambda x, w, _: accumulate_packed(x, w), fire),
    "serial": Form(accumulate_serial, lambda v, h, t: pack_spikes(fire_serial(v, h, t))),
    "any order": Form(adds_in_any_order, lambda v, h, t: pack_spikes(fire_serial(v, h, t))),
    "horner": Form(accumulate_horner, fire),
    "torch": Form(lambda x, w, _: accumulate_packed(x, w), fire_module),
    "torch, step by step": Form(accumulate_horner, fire_module_serial),
}


def numbers(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values).astype(np.int64))


def along(values: Any, v: Tensor) -> Tensor:
    return numbers(values).reshape(-1, *[1] * (v.ndim - 2))


def windows(op: Any, x: Tensor) -> Tensor:
    """What each output pixel sees: (n, pixels, channels, taps)."""
    rows = functional.unfold(x.double(), op.kernel, 1, op.padding, op.stride)
    return rows.to(torch.int64).unflatten(1, (x.shape[1], -1)).permute(0, 3, 1, 2)


def convolved(op: Conv2d, x: Tensor, bits: int, shape: tuple[int, ...], form: Form) -> Tensor:
    rows, weight = windows(op, x), numbers(op.weight)
    if op.groups == 1:
        v = form.accumulate(rows.flatten(2), weight.flatten(1), bits)
    else:
        parts = [form.accumulate(rows[:, :, c], weight[c].flatten(1), bits)
                 for c in range(len(weight))]  # fmt: skip
        v = torch.cat(parts, -1)
    return v.transpose(1, 2).reshape(len(x), *shape)


def weighed(x: Tensor, weight: Tensor, bits: int, signed: bool, form: Form) -> Tensor:
    """One weight a channel: a skip connection."""
    if signed:  # potentials of another layer have no spikes
        return x * weight
    each = form.accumulate(x.unsqueeze(-1), torch.ones(1, 1, dtype=torch.int64), bits)
    return each.squeeze(-1) * weight


def run(network: Network, words: np.ndarray, form: Form) -> dict[str, tuple[Any, Any]]:
    """(potentials or None, words or None) of every op, each fed with what this form made."""
    values = {"input": numbers(words).reshape(-1, *network.input_shape)}
    seen: dict[str, tuple[Any, Any]] = {}
    for op in network.ops:
        given, edges = [], []
        for name in network.sources(op):
            given.append(values[name])
            edges.append(network.edges[name])
        x, bits, shape = given[0], edges[0].bits, network.edges[op.name].shape
        o: Any = op
        v = fired = None
        if op.kind == "flatten":
            values[op.name] = x.flatten(1)
            continue
        if op.kind == "pad2d":
            top, bottom, left, right = o.padding
            word = along(o.word, x)
            fired = functional.pad(x - word, (left, right, top, bottom)) + word
        elif op.kind == "maxpool2d":
            most = functional.max_pool2d(x.double(), o.kernel, o.stride, o.padding)
            v, fired = (most.long(), None) if edges[0].signed else (None, most.long())
        elif op.kind == "avgpool2d":
            ones = torch.ones(1, o.kernel[0] * o.kernel[1], dtype=torch.int64)
            total = form.accumulate(windows(op, x), ones, bits).squeeze(-1).transpose(1, 2)
            total = total.reshape(len(x), *shape) + o.bias
            fired = form.fire(total, torch.full((shape[0], 1, 1), o.threshold), o.output_bits)
        elif op.kind == "add":
            parts = (weighed(q, along(w, q), e.bits, e.signed, form)
                     for q, w, e in zip(given, o.weight, edges, strict=True))  # fmt: skip
            v = sum(parts) + along(o.bias, x)
        elif op.kind == "fire":
            v = x
        elif op.kind == "conv2d":
            v = convolved(o, x, bits, shape, form)
            v = v + along(o.bias, v)
            if o.skip:
                k = torch.tensor(1) if o.skip_weight is None else along(o.skip_weight, v)
                v = v + weighed(given[1], k, edges[1].bits, edges[1].signed, form)
        else:  # dense, readout
            v = form.accumulate(x, numbers(o.weight), bits) + numbers(o.bias)
        if v is not None and getattr(op, "output_bits", 0):
            fired = form.fire(v, along(o.threshold, v), o.output_bits)
        seen[op.name] = (v, fired)
        values[op.name] = v if fired is None else fired
    return seen


def agree(network: Network, words: np.ndarray, forms=tuple(FORMS)) -> list[tuple[Tensor, Any]]:
    """Compare all forms with the integer network; potentials and ops of all that fire."""
    traces, fires = network_trace(network, words), []
    for name in forms:
        seen = run(network, words, FORMS[name])
        for trace in traces:
            v, fired = seen[trace.name]
            for ours, theirs in ((v, trace.potentials), (fired, trace.words)):
                if ours is not None and theirs is not None:
                    assert np.array_equal(ours.numpy(), theirs), (name, trace.name)
            assert (fired is None) == (trace.words is None), (name, trace.name)
    ops = {op.name: op for op in network.ops}
    for trace in traces:
        if trace.potentials is not None and trace.words is not None:
            fires.append((numbers(trace.potentials), ops[trace.name]))
    return fires


def network_trace(network: Network, words: np.ndarray) -> Any:
    from spikeloom.golden import trace_words

    return trace_words(network, words)


def rounded_alike(v0: Tensor, op: Any, scale: Tensor, dtype: torch.dtype) -> int:
    """Real potentials of any scale: parallel and serial words are the exact quotient's.

    Returns how many plain quotients, without the correction, are another word.
    """
    theta = (numbers(op.threshold) * scale).to(dtype)
    one = SpikePack(op.output_bits)
    one.threshold = theta
    level = theta.view(-1, *[1] * (v0.ndim - 2))
    v = v0.to(dtype) * scale.to(dtype).view(level.shape)
    words = one.pack(v)
    assert torch.equal(words, pack_spikes(one.spikes(v)))
    assert torch.equal(one(v), words.to(dtype) * level)
    top = (1 << op.output_bits) - 1
    if dtype == torch.float32:  # products with words are exact in float64
        below = words.double() * level.double() <= v.double()
        above = (words + 1).double() * level.double() > v.double()
        assert bool((below | (words == 0)).all())
        assert bool((above | (words == top)).all())
    return int((torch.floor(v / level).clamp(0, top) != words).sum())


def some_scales(op: Any, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(op.threshold), generator=generator, dtype=torch.float64) + 0.1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_networks_agree_in_every_form(seed):
    """Convolutions, pools, joins; T of 1 to 8 for every layer, weights of 2 to 8 bits."""
    network = random_conv_network(seed)
    words = random_words(network, 5, seed=seed)
    for v0, op in agree(network, words):
        for dtype in (torch.float32, torch.float64):
            rounded_alike(v0, op, some_scales(op, seed), dtype)
    for trace, step in zip(network_trace(network, words), reference_trace(network, words),
                           strict=True):  # fmt: skip
        for ours, theirs in ((trace.potentials, step.potentials), (trace.words, step.words)):
            assert (ours is None) == (theirs is None)
            assert ours is None or np.array_equal(ours, theirs)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=5),
    st.data(),
    st.integers(2, 8),
    st.integers(0, 2**32 - 1),
)
def test_random_dense_networks_agree_in_every_form(sizes, data, weight_bits, seed):
    bits = data.draw(st.lists(st.integers(1, 8), min_size=len(sizes) - 1, max_size=len(sizes) - 1))
    network = random_network(sizes, seed=seed, bits=bits, weight_bits=weight_bits, spare_bits=1)
    for v0, op in agree(network, random_words(network, 5, seed=seed)):
        rounded_alike(v0, op, some_scales(op, seed), torch.float32)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_agrees_in_every_form(block):
    for seed in range(2):
        network = random_conv_network(seed, blocks=["pad", block], shape=(3, 6, 5))
        agree(network, random_words(network, 5, seed=seed))


@cache
def digits() -> Any:
    return mnist_5k()


def pictures(network: Network, name: str, count: int) -> np.ndarray:
    """Real data of a network's shape: digits, or windows of motion."""
    if name == "imu-cnn":
        return motion_windows().test_images[:count]
    data = as_rgb32(digits()) if network.input_shape[0] == 3 else digits()
    return data.test_images[:count]


@pytest.mark.parametrize("name", names())
def test_shipped_networks_agree_in_every_form(name):
    network = open_network(name)
    words = network.encode(pictures(network, name, 3))
    fires = agree(network, words)
    assert len(fires) >= 1
    wrong = 0
    for v0, op in fires:
        # the layer's own real scale, and powers of two, which round nothing
        own = torch.from_numpy(np.asarray(op.output_scale / op.threshold, dtype=np.float64))
        for scale in (own, some_scales(op, 0)):
            wrong += rounded_alike(v0, op, scale, torch.float32)
        power = torch.exp2(torch.arange(len(op.threshold)) % 9 - 4.0).double()
        assert rounded_alike(v0, op, power, torch.float32) == 0
        one = SpikePack(op.output_bits)
        one.threshold = (numbers(op.threshold) * power).float()
        level = power.view(-1, *[1] * (v0.ndim - 2))
        assert torch.equal(one.pack((v0 * level).float()), fire(v0, along(op.threshold, v0),
                                                                op.output_bits))  # fmt: skip
    print(name, f"{wrong} words would be wrong without the correction")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 8), min_size=2, max_size=4))
def test_torch_networks_of_power_of_two_thresholds_agree(seed, steps):
    """Float modules as people write them: forward, and T steps of spikes through plain weights."""
    g = torch.Generator().manual_seed(seed)

    def whole(*shape, top=15):
        return torch.randint(-top, top, shape, generator=g, dtype=torch.float32)

    channels, x = 3, torch.randint(0, 256, (4, 3, 6, 6), generator=g).float() / 256
    planes = unpack_words((x * 256).long(), 8).float()
    scale_in, bits = 1 / 256, 8
    for count in steps:
        outputs = int(torch.randint(1, 7, (), generator=g))
        weight, bias = whole(outputs, channels, 3, 3) / 16, whole(outputs) / 8
        theta = torch.exp2(torch.randint(-4, 1, (outputs,), generator=g).float())
        one = SpikePack(count, theta, rounding=bool(seed % 2))
        y = one(functional.conv2d(x, weight, bias, padding=1))
        # step by step: membranes double, spikes of one step add their weights
        v = torch.zeros(())
        for plane in planes:
            v = 2 * v + functional.conv2d(plane * scale_in, weight, padding=1)
        spikes = one.spikes(v + bias.view(1, -1, 1, 1))
        assert torch.equal(pack_spikes(spikes) * theta.view(1, -1, 1, 1), y)
        # the next layer shares one scale: that of the smallest threshold is on the grid of all
        least = theta.min()
        whole_words = (y / least).round().long()
        assert torch.equal(whole_words * least, y)
        bits = max(1, int(whole_words.max()).bit_length())
        x, channels, scale_in = y, outputs, float(least)
        planes = unpack_words(whole_words, bits).float()
