from __future__ import annotations

import itertools

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import Normalise, lowering_loss, lowering_report
from spikeloom.conversion.rounding import best_scale as _best_scale
from spikeloom.conversion.tuning import Tuned
from spikeloom.errors import InputError, UnsupportedModelError
from torch import nn


def trained_like(seed: int = 0, sizes=(20, 16, 12, 5)) -> nn.Sequential:
    """A network whose layers fire: random weights, biases around zero."""
    layers: list[nn.Module] = [nn.Flatten()]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for a, b in itertools.pairwise(sizes):
            linear = nn.Linear(a, b)
            nn.init.normal_(linear.weight, 0, (2 / a) ** 0.5)
            nn.init.normal_(linear.bias, 0, 0.3)
            layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def images(n=300, shape=(4, 5), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_structure():
    net = sl.lower(sl.convert(trained_like(), images(), steps=3, input_bits=6), weight_bits=7)
    assert [op.name for op in net.ops] == ["flatten", "1", "3", "5"]
    assert (net.input_shape, net.input_bits) == ((4, 5), 6)
    assert [(op.input_bits, op.output_bits, op.weight_bits) for op in net.layers] == [
        (6, 3, 7),
        (3, 3, 7),
        (3, 0, 7),
    ]
    net.check_accumulators()
    for op in net.layers:  # one bit to spare, no more
        low, high = op.potential_bounds()
        assert sl.network.accumulator_width(low, high) + 1 == op.accumulator_bits


def test_flat_samples_need_no_flatten():
    net = sl.lower(sl.convert(trained_like(), images(shape=(20,))))
    assert [op.kind for op in net.ops] == ["dense", "dense", "readout"]


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("weight_bits", [2, 4, 8])
def test_dequantised_twin_equals_the_integers(steps, weight_bits):
    snn = sl.convert(trained_like(steps), images(), steps=steps)
    net = sl.lower(snn, weight_bits, allow_few_bits=True)
    test = images(2000, seed=1)
    logits = net.run(test)
    twin = net.dequantised()(torch.from_numpy(test))
    scale = net.layers[-1].logit_scale  # type: ignore[union-attr]
    assert torch.round(twin / scale).to(torch.int64).tolist() == logits.tolist()
    assert twin.argmax(1).tolist() == logits.argmax(1).tolist()


def test_ties_of_the_twin_go_to_the_lowest_index_too():
    model = trained_like()
    with torch.no_grad():  # classes 1 and 3 are the same, and win everywhere
        model[-1].weight[3] = model[-1].weight[1]
        model[-1].bias[1] = model[-1].bias[3] = 50.0
    net = sl.lower(sl.convert(model, images()))
    test = images(200, seed=2)
    assert (net.run(test)[:, 1] == net.run(test)[:, 3]).all()
    assert set(net.run(test).argmax(1)) == {1}
    assert set(net.dequantised()(test).argmax(1).tolist()) == {1}


def test_integers_follow_the_float_spikes_up_to_weight_rounding():
    snn = sl.convert(trained_like(), images())
    net = sl.lower(snn, 8)
    test = images(1000, seed=3)
    with torch.no_grad():
        y = snn(torch.from_numpy(test)).double().numpy()
    twin = net.run(test) * net.layers[-1].logit_scale  # type: ignore[union-attr]
    assert np.abs(twin - y).std() / y.std() < 0.03
    assert (twin.argmax(1) == y.argmax(1)).mean() > 0.97


def test_integers_equal_the_float_spikes_when_weights_are_integers_already():
    """Nothing left to round: every word of every layer is the same in float and in integers."""
    snn = sl.convert(trained_like(), images(), bias_correction=False).double()
    with torch.no_grad():
        x_scale = torch.full((20,), 1 / 255, dtype=torch.float64)
        for layer in snn.spiking_layers:
            n = layer.linear.out_features
            codes = torch.randint(-127, 128, layer.linear.weight.shape).double()
            codes[:, 0] = 127.0  # the scale that fits best is 1
            layer.linear.weight.copy_(codes / x_scale)
            # an even threshold: theta / 2 in float and floor(theta / 2) are the same
            theta = 2 * torch.randint(400, 2000, (n,)).double()
            layer.linear.bias.copy_(torch.randint(-3000, 3000, (n,)))
            if layer.neuron is not None:
                layer.alive.fill_(True)
                layer.neuron.threshold = theta
                x_scale = theta
            layer.input_mean.zero_()
    net = sl.lower(snn, 8)
    test = images(500, seed=4)
    x = snn.encode(torch.from_numpy(test)).double().flatten(1)
    x = torch.round(x * 255) / 255
    for layer, trace in zip(snn.spiking_layers, net.trace(test), strict=True):
        if layer.neuron is None:
            assert torch.round(layer(x)).tolist() == trace.potentials.tolist()
        else:
            # half an LSB keeps the float comparison away from its own rounding
            v = torch.round(layer.linear(x)) + 0.25
            words = layer.neuron.pack(v)
            assert trace.words is not None
            assert words.tolist() == trace.words.tolist()
            x = words.double() * layer.neuron.threshold


def test_real_thresholds_survive_as_exact_integers_of_the_scale():
    """theta * S is the calibrated threshold itself, and weights are within half a code of V / S."""
    snn = sl.convert(trained_like(), images())
    net = sl.lower(snn, 8)
    a = np.full(20, 1 / 255)
    for layer, op, report in zip(
        snn.spiking_layers[:-1], net.layers, lowering_report(net), strict=False
    ):
        assert isinstance(op, sl.network.Dense)
        assert layer.neuron is not None
        alive = layer.alive.numpy()
        assert report.raised == 0
        asked = layer.neuron.threshold.double().numpy()
        assert op.output_scale[alive].tolist() == asked[alive].tolist()
        codes = layer.linear.weight.detach().double().numpy() * a
        codes /= (op.output_scale / op.threshold)[:, None]
        inside = np.abs(codes) < 127
        assert np.array_equal(op.weight[inside], np.rint(codes[inside]))
        assert op.threshold[alive].min() >= 8
        a = op.output_scale


def test_coarse_thresholds_are_raised_to_four_and_reported():
    snn = sl.convert(trained_like(), images(), steps=8)
    with torch.no_grad():  # one channel asks for a resolution its weights do not have
        neuron = snn.spiking_layers[0].neuron
        assert neuron is not None
        alive = int(snn.spiking_layers[0].alive.nonzero()[0])
        neuron.threshold[alive] = 1e-6
    net = sl.lower(snn, 4)
    op, report = net.layers[0], lowering_report(net)[0]
    assert isinstance(op, sl.network.Dense)
    assert int(op.threshold[alive]) == 4
    assert op.output_scale[alive] > 1e-6
    assert report.raised >= 1
    # the consumer was folded with the scale that is really used
    consumer, layer = net.layers[1], snn.spiking_layers[1]
    assert isinstance(consumer, sl.network.Dense)
    V = layer.linear.weight.detach().double().numpy() * op.output_scale
    codes = V / (consumer.output_scale / consumer.threshold)[:, None]
    inside = (np.abs(codes) < 7) & layer.alive.numpy()[:, None]
    assert np.array_equal(consumer.weight[inside], np.rint(codes[inside]))


def test_readout_has_one_scale_for_all_classes():
    """Rows of very different magnitude: a scale each would make the integer argmax wrong."""
    model = trained_like()
    with torch.no_grad():
        model[-1].weight *= torch.tensor([8.0, 1.0, 0.3, 2.0, 0.1]).view(-1, 1)
    snn = sl.convert(model, images())
    net = sl.lower(snn)
    op = net.layers[-1]
    largest = np.abs(op.weight).max(1)
    assert largest.argmax() == 0
    assert largest[4] < largest[0] / 10
    test = images(1000, seed=6)
    with torch.no_grad():
        decisions = snn(torch.from_numpy(test)).argmax(1).numpy()
    assert (net.run(test).argmax(1) == decisions).mean() > 0.97


def test_best_scale_beats_every_other_clip_and_counts_what_it_cut():
    rng = np.random.default_rng(0)
    V = rng.normal(size=(3, 200))
    V[1, 0] = 40  # an outlier worth cutting at 3 bits
    ones = np.ones(200)

    def error(S):
        return ((V - S[:, None] * np.clip(np.rint(V / S[:, None]), -3, 3)) ** 2).sum(1)

    best = _best_scale(V, ones, 3)
    for clip in np.linspace(0.3, 1, 15):
        assert (error(best) <= error(clip * np.abs(V).max(1) / 3) + 1e-9).all()
    # data that never uses a column must not spend codes on it
    assert _best_scale(V, np.where(V[1] == 40, 0.0, 1.0), 3)[1] < best[1]


def test_clipped_codes_are_reported():
    reports = lowering_report(
        sl.lower(sl.convert(trained_like(), images()), 3, allow_few_bits=True)
    )
    assert [r.name for r in reports] == ["1", "3", "5"]
    assert sum(r.clipped for r in reports) > 0
    assert all(0 < r.weight_error < 0.5 for r in reports)


def test_a_network_without_a_report_has_none():
    net = sl.lower(sl.convert(nn.Linear(4, 2), torch.rand(9, 4)))
    assert lowering_report(sl.Network(net.ops, net.input_shape)) == ()


def test_bias_makes_up_for_rounded_weights():
    """Mean potentials on the calibration data survive 3-bit weights."""
    model, data = trained_like(sizes=(20, 5)), images()
    net = sl.lower(sl.convert(model, data), 3, allow_few_bits=True)
    with torch.no_grad():
        exact = model(torch.from_numpy(data).float() / 255).mean(0).numpy()
    scale = net.layers[-1].logit_scale  # type: ignore[union-attr]
    assert np.abs(net.run(data).mean(0) * scale - exact).max() <= 0.51 * scale


def test_lowering_is_deterministic(tmp_path):
    data = images()
    a, b = (sl.lower(sl.convert(trained_like(), data)) for _ in range(2))
    a.save(tmp_path / "a")
    b.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_shipped_network_lowers_to_the_same_integers():
    from spikeloom.checkpoint import load_mlp
    from spikeloom.data import mnist_5k
    from spikeloom.shipped import open_network

    shipped = open_network("mnist-mlp")
    net = sl.lower(sl.convert(load_mlp("mnist-mlp"), mnist_5k().train_images[:2000], steps=4))
    for ours, theirs in zip(net.layers, shipped.layers, strict=True):
        for name in ("weight", "bias", "threshold"):
            a, b = getattr(ours, name), getattr(theirs, name)
            if a is not None:
                # another order of summation may tip what lies in the middle of two integers
                off = np.abs(a.astype(np.int64) - b.astype(np.int64))
                assert off.max() <= 1
                assert (off > 0).mean() < 0.01
        assert ours.accumulator_bits == theirs.accumulator_bits


def test_saved_network_keeps_its_report(tmp_path):
    net = sl.lower(sl.convert(trained_like(), images()))
    net.save(tmp_path / "n")
    assert lowering_report(sl.Network.load(tmp_path / "n")) == lowering_report(net)


def test_normalised_input_lowers():
    model = nn.Sequential(Normalise(0.3, 0.25), *trained_like())
    data = images(1000)
    net = sl.lower(sl.convert(model, data, steps=6))
    with torch.no_grad():
        decisions = model(torch.from_numpy(data).float() / 255).argmax(1).numpy()
    assert (net.run(data).argmax(1) == decisions).mean() > 0.97


@pytest.mark.parametrize("bits", [1, 9, 8.0])
def test_wrong_weight_bits_are_refused(bits):
    with pytest.raises(ValueError, match="weight_bits"):
        sl.lower(sl.convert(nn.Linear(4, 2), torch.rand(9, 4)), bits)


@pytest.mark.parametrize("bits", [2, 3])
def test_few_bits_come_through_training_only(bits):
    snn = sl.convert(trained_like(), images())
    with pytest.raises(UnsupportedModelError, match=f"not trained with {bits}-bit") as refused:
        sl.lower(snn, bits, reconstruct=images())
    assert str(refused.value).startswith("1, 3, 5: ")
    assert "\n" not in str(refused.value)
    assert sl.lower(snn, bits, allow_few_bits=True).layers[0].weight_bits == bits
    few = Tuned(snn, bits).frozen()  # on its grid, without a step of training
    assert sl.lower(few, bits).layers[0].weight_bits == bits
    many = Tuned(snn, 8).frozen()
    with pytest.raises(UnsupportedModelError, match=f"not trained with {bits}-bit"):
        sl.lower(many, bits)


def test_the_predicted_loss_is_that_of_the_integers():
    snn, test = sl.convert(trained_like(), images()), images(300, seed=5)
    with torch.no_grad():
        exact = snn(torch.from_numpy(test)).double().numpy()
    size = np.sqrt(np.square(exact - exact.mean(1, keepdims=True)).mean())
    for bits in (2, 4, 8):
        net = sl.lower(snn, bits, allow_few_bits=True)
        loss = lowering_loss(snn, net, test)
        logits = net.run(test) * net.layers[-1].logit_scale
        assert loss.decisions == (logits.argmax(1) != exact.argmax(1)).mean()
        assert loss.logits == pytest.approx(np.sqrt(np.square(logits - exact).mean()) / size)
        assert loss.samples == 300
    assert f"changes {loss.decisions:.2%} of the decisions" in str(loss)
    with pytest.raises(InputError, match="n > 0"):
        lowering_loss(snn, net, test[:0])


def test_an_unconverted_model_is_refused():
    with pytest.raises(UnsupportedModelError, match="call spikeloom.convert"):
        sl.lower(nn.Linear(4, 2))


def test_potentials_beyond_32_bits_are_refused():
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.fill_(1e-8)
        model.bias.fill_(1e3)
    with pytest.raises(UnsupportedModelError, match="hardware has 32 at most"):
        sl.lower(sl.convert(model, torch.rand(9, 4)))


def test_twin_checks_its_input():
    net = sl.lower(sl.convert(nn.Linear(4, 2), torch.rand(9, 4)))
    with pytest.raises(InputError, match="the network takes uint8"):
        net.dequantised()(torch.rand(3, 4))
