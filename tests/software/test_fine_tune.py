from __future__ import annotations

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom import SpikePack
from spikeloom.conversion import fine_tune, spiking
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.training import Recipe, accuracy, predict, train
from torch import nn

RECIPE = Recipe(updates=150, batch=64, rate=1e-2, weight_decay=0.0, label_smoothing=0.0)


def stripes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images with a bright row or column; the class is which of the eight."""
    g = np.random.default_rng(seed)
    labels = g.integers(0, 8, n)
    x = g.integers(0, 120, (n, 1, 4, 4))
    for image, label in zip(x, labels, strict=True):
        line = image[0, label] if label < 4 else image[0, :, label - 4]
        line += g.integers(40, 120)
    return x.astype(np.uint8), labels


def build(activation=nn.ReLU) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), activation(),
        nn.Flatten(), nn.Linear(128, 16), activation(), nn.Linear(16, 8),
    )  # fmt: skip


IMAGES, LABELS = stripes(2000)
TEST, TEST_LABELS = stripes(1000, seed=1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return train(build, IMAGES, LABELS, RECIPE)


@pytest.mark.parametrize("weight_bits", [None, 2, 8])
def test_accuracy_of_one_step_comes_back(model, weight_bits):
    snn = sl.convert(model, IMAGES[:200], steps=1)
    before = {k: v.clone() for k, v in snn.state_dict().items()}
    tuned = fine_tune(snn, IMAGES, LABELS, RECIPE, weight_bits=weight_bits)
    assert all(torch.equal(v, snn.state_dict()[k]) for k, v in before.items())
    network = sl.lower(tuned, weight_bits or 8)
    rounded = sl.lower(snn, weight_bits or 8, allow_few_bits=True)
    plain = accuracy(rounded.run(TEST).argmax(1), TEST_LABELS)
    integers = network.run(TEST).argmax(1)
    assert accuracy(integers, TEST_LABELS) > plain + 0.01
    assert accuracy(integers, TEST_LABELS) > accuracy(predict(model, TEST), TEST_LABELS) - 0.1
    if weight_bits:
        assert integers.tolist() == predict(tuned, TEST).tolist()


def test_thresholds_learn_and_shared_ones_stay_shared(model):
    for granularity in ("tensor", "channel"):
        snn = sl.convert(model, IMAGES[:200], steps=2, granularity=granularity)
        tuned = fine_tune(snn, IMAGES, LABELS, RECIPE, weight_bits=None)
        old, new = (n.spiking_layers[0].neuron.threshold for n in (snn, tuned))
        assert not torch.allclose(old, new, rtol=1e-3)
        assert bool((new == new[0]).all()) == (granularity == "tensor")


def test_the_same_seed_gives_the_same_network(model):
    snn = sl.convert(model, IMAGES[:200], steps=2)
    short = Recipe(updates=5, batch=32, rate=1e-2)
    a, b, c = (fine_tune(snn, IMAGES, LABELS, short, seed=seed) for seed in (0, 0, 1))
    x = torch.from_numpy(TEST)
    assert torch.equal(a(x), b(x))
    assert not torch.equal(a(x), c(x))


def test_from_scratch_to_integers():
    """Trained with SpikePack, taken as it is, and lowered."""
    neurons = lambda: SpikePack(4, 0.25, rounding=True, trainable=True)  # noqa: E731
    model = train(lambda: build(neurons), IMAGES, LABELS, RECIPE)
    snn = spiking(model, (1, 4, 4))
    x = torch.from_numpy(TEST).float() / 255
    with torch.no_grad():
        # folding the norms is all that happens
        off = (snn(x) - model(x)).abs().max() / model(x).abs().max()
    assert float(off) < 0.1
    assert (snn(x).argmax(1) == model(x).argmax(1)).float().mean() > 0.99
    short = Recipe(updates=50, batch=64, rate=1e-3, weight_decay=0.0)
    tuned = fine_tune(snn, IMAGES, LABELS, short, weight_bits=4)
    integers = sl.lower(tuned, 4).run(TEST).argmax(1)
    assert integers.tolist() == predict(tuned, TEST).tolist()
    assert accuracy(integers, TEST_LABELS) > accuracy(predict(model, TEST), TEST_LABELS) - 0.05


def test_neurons_that_floor_keep_their_words():
    model = build(lambda: SpikePack(3, 0.2)).eval().double()
    snn = spiking(model, (1, 4, 4)).double()
    x = torch.from_numpy(TEST).double() / 255
    with torch.no_grad():
        words = torch.round(snn.spiking_layers[0](snn.encode(x)) / 0.2)
        assert torch.equal(words, torch.round(model[:3](x) / 0.2))


def test_models_without_their_neurons_are_refused():
    with pytest.raises(UnsupportedModelError, match=r"no SpikePack fires on 0, 4"):
        spiking(build().eval(), (1, 4, 4))
    with pytest.raises(UnsupportedModelError, match=r"fires already.*conversion\.spiking"):
        sl.convert(build(SpikePack).eval(), IMAGES[:10])
    twice = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), SpikePack(), SpikePack(), nn.Linear(5, 2))
    with pytest.raises(UnsupportedModelError, match=r"3: it fires on words without weights"):
        spiking(twice, (1, 4, 4))
    wide = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), SpikePack(12), nn.Linear(5, 2))
    with pytest.raises(UnsupportedModelError, match="12 steps"):
        spiking(wide, (1, 4, 4))
    with pytest.raises(ValueError, match="input_bits"):
        spiking(wide, (1, 4, 4), input_bits=9)


def test_wrong_images_are_refused(model):
    snn = sl.convert(model, IMAGES[:200])
    with pytest.raises(InputError, match="uint8 with a label each"):
        fine_tune(snn, IMAGES / 255, LABELS)
    with pytest.raises(InputError, match="uint8 with a label each"):
        fine_tune(snn, IMAGES[:5], LABELS)
    with pytest.raises(InputError, match="the network takes"):
        fine_tune(snn, IMAGES[..., :3], LABELS)
    tuned = fine_tune(snn, IMAGES[:, 0], LABELS, Recipe(updates=2, batch=4))
    assert predict(tuned, TEST).shape == (1000,)
