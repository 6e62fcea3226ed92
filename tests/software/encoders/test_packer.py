"""The packer against its rule, step by step in plain Python."""

from __future__ import annotations

import warnings

import pytest
import torch
from spikeloom.encoders import Packer, Phase, StepForward
from spikeloom.errors import InputError


def oracle(spikes, mode: str, window: int, bits: int, bipolar: bool) -> list[list[int]]:
    """Words of a frame (channels, time): one row for each output channel, in order."""
    rows: list[list[int]] = []
    for train in spikes:
        windows = [train[k : k + window] for k in range(0, len(train), window)]
        for sign in (1, -1) if bipolar else (1,):
            parts = [[max(0, sign * s) for s in w] + [0] * (window - len(w)) for w in windows]
            if mode == "count":
                rows.append([min(sum(a), 2**bits - 1) for a in parts])
            elif mode == "weighted":
                rows.append(
                    [sum((s > 0) << (window - 1 - k) for k, s in enumerate(a)) for a in parts]
                )
            else:
                rows += [[int(a[k] > 0) for a in parts] for k in range(window)]
    return rows


def test_by_hand():
    s = torch.tensor([[1, -1, 1, 1, 0, -1], [0, 0, 0, 1, 1, 1]])
    assert Packer("count", window=3)(s).tolist() == [[2, 1], [1, 1], [0, 3], [0, 0]]
    assert Packer("count", window=4, bits=1, bipolar=False)(s).tolist() == [[1, 0], [1, 1]]
    packer = Packer("weighted", window=4, bipolar=False)
    assert packer(s).tolist() == [[0b1011, 0], [0b0001, 0b1100]]
    bits = Packer("bits", window=3)(s)
    assert bits.shape == (2 * 2 * 3, 2)
    assert bits[:6].tolist() == [[1, 1], [0, 0], [1, 0], [0, 0], [1, 0], [0, 1]]
    # a plain train is one channel
    assert Packer("count", window=2)(s[0]).tolist() == [[1, 2, 0], [1, 0, 1]]


@pytest.mark.filterwarnings("ignore:weighted words of signed spikes")
@pytest.mark.parametrize("mode", ["count", "bits", "weighted"])
@pytest.mark.parametrize("bipolar", [True, False])
@pytest.mark.parametrize(("window", "time"), [(1, 5), (4, 12), (4, 13), (16, 7), (7, 50)])
def test_rule(mode, bipolar, window, time):
    s = torch.randint(-3, 4, (2, 3, time))
    packer = Packer(mode, window=window, bits=3, bipolar=bipolar)
    gold = packer.fixed(channels=3, spike_bits=3)
    expected = [oracle(batch, mode, window, 3, bipolar) for batch in s.tolist()]
    assert packer(s).tolist() == expected
    assert gold.encode(s).tolist() == expected
    assert packer(s.double()).tolist() == expected
    assert gold.parameters.output_channels == len(expected[0])
    single = packer.fixed(spike_bits=3).encode(s[0, 0])
    assert single.tolist() == oracle([s[0, 0].tolist()], mode, window, 3, bipolar)


@pytest.mark.filterwarnings("ignore:weighted words of signed spikes")
@pytest.mark.parametrize("mode", ["bits", "weighted"])
@pytest.mark.parametrize("bipolar", [True, False])
def test_unpack_is_the_inverse(mode, bipolar):
    s = torch.randint(-1 if bipolar else 0, 2, (2, 3, 29), dtype=torch.int8)
    packer = Packer(mode, window=8, bipolar=bipolar)
    back = packer.unpack(packer(s), time=29)
    assert back.dtype == torch.int8
    assert torch.equal(back, s)
    assert packer.unpack(packer(s)).shape == (2, 3, 32)
    assert packer.unpack(packer(s.float())).dtype == torch.float32
    for time in (24, 33):
        with pytest.raises(InputError, match=f"{time} samples do not fill 4 windows of 8"):
            packer.unpack(packer(s), time=time)


def test_types():
    s = torch.randint(-1, 2, (3, 20))
    for dtype in (torch.float32, torch.float64):
        assert Packer()(s.to(dtype)).dtype == dtype
    for dtype in (torch.int8, torch.int64, torch.uint8):
        assert Packer()(s.abs().to(dtype)).dtype == torch.int64
    assert torch.equal(Packer()(s > 0), Packer()((s > 0).float()).to(torch.int64))


def test_counts_have_room_by_default():
    for window in (1, 7, 8, 255):
        assert int(Packer("count", window=window)(torch.ones(1, window))[0, 0]) == window


def test_weighted_is_for_phase():
    enc = Phase(8)
    u = torch.rand(5, 4, dtype=torch.float64)
    packer = Packer("weighted", window=8, bipolar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words = packer(enc(u)).squeeze(-1)
        Packer("weighted", window=8)(enc(u))
    assert torch.equal(words, torch.floor(u * 255 + 0.5))
    assert torch.equal(packer.unpack(words.unsqueeze(-1)), enc(u))
    with pytest.warns(UserWarning, match="mode='count' keeps more"):
        Packer("weighted", window=8)(torch.tensor([[1.0, -1.0]]))


def test_behind_an_encoder():
    chain = torch.nn.Sequential(StepForward(0.2), Packer("count", window=10))
    x = torch.randn(2, 3, 100).cumsum(-1)
    words = chain(x)
    assert words.shape == (2, 6, 10)
    s = StepForward(0.2)(x)
    assert torch.equal(words.unflatten(1, (3, 2)).sum((2, 3)), s.abs().sum(-1))


def test_bad_arguments():
    with pytest.raises(InputError, match="mode must be one of .*'weighted'.*, not 'mean'"):
        Packer("mean")
    for mode, window in (("count", 0), ("count", 256), ("bits", 17), ("weighted", 17)):
        with pytest.raises(InputError, match=r"window must be an integer in 1\.\."):
            Packer(mode, window=window)
    with pytest.raises(InputError, match=r"bits must be an integer in 1\.\.16"):
        Packer(bits=17)


def test_bad_spikes():
    packer = Packer(window=4)
    with pytest.raises(InputError, match=r"spikes\[0, 2\] is 0.5: spikes are integers"):
        packer(torch.tensor([[0.0, 1.0, 0.5]]))
    for value in (float("nan"), float("inf"), 16.0):
        with pytest.raises(InputError, match=r"spikes\[1\] is"):
            packer(torch.tensor([0.0, value]))
    with pytest.raises(InputError, match="spikes.0. is -128"):
        packer(torch.tensor([-128], dtype=torch.int8))
    with pytest.raises(InputError, match="not be empty"):
        packer(torch.zeros(3, 0))
    with pytest.raises(InputError, match="integers, not torch.float32"):
        packer.fixed().encode(torch.zeros(4))
    with pytest.raises(InputError, match=r"spikes must be in -2\.\.1 with spike_bits = 2"):
        packer.fixed().encode([0, 2])
    with pytest.raises(InputError, match=r"spikes must be \(\.\.\., 3, count\)"):
        packer.fixed(channels=3).encode([0, 1])


def test_bad_words():
    with pytest.raises(InputError, match="counts do not say when"):
        Packer("count").unpack(torch.zeros(2, 3))
    packer = Packer("weighted", window=4)
    with pytest.raises(InputError, match=r"words\[0, 0\] is 16: words are integers.*up to 15"):
        packer.unpack(torch.tensor([[16], [0]]))
    with pytest.raises(InputError, match=r"words must be \(\.\.\., channels \* 2, windows\)"):
        packer.unpack(torch.zeros(3, 1))
    with pytest.raises(InputError, match="not below 0"):
        packer.unpack(torch.tensor([[-1], [0]]))
