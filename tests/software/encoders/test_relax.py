import copy
import math

import pytest
import torch
from spikeloom.encoders import LIF, Delta, StepForward, relax, surrogate
from spikeloom.encoders.bsa import BSA
from spikeloom.encoders.pwm import PWM
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from torch.autograd import gradcheck

F64 = torch.float64


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=F64, generator=generator)


def trainable(kind: str, **more):
    """A float64 encoder of 3 channels whose parameters all take gradients."""
    if kind.startswith("sf"):
        initial = "first" if "first" in kind else [0.1, -0.2, 0.3]
        levels = 2 if "levels" in kind else 0
        encoder = StepForward([0.3, 0.5, 0.7], initial=initial, levels=levels, **more)
    else:
        reset = "zero" if "zero" in kind else "subtract"
        encoder = LIF([0.4, 0.9, 1.3], [0.95, 0.6, 0.3], reset=reset, **more)
    return encoder


KINDS = ["sf", "sf-first", "sf-levels", "sf-first-levels", "lif", "lif-zero"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.2, 0.6])
def test_gradient_of_the_relaxation_is_exact(kind, temperature):
    encoder = trainable(kind, trainable=True)
    x = noise(2, 3, 9).requires_grad_()
    parameters = list(encoder.parameters())
    assert len(parameters) == 2

    # gradcheck perturbs the parameters in place, so that the encoder sees them move
    def smooth(x, *_):
        return encoder.relaxed(x, temperature)

    assert gradcheck(smooth, (x, *parameters))


def test_gradient_reaches_offset_and_scale():
    encoder = StepForward(0.3, initial=0.1)
    offset, scale = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.2, 1.5))

    def smooth(offset, scale):
        encoder.offset, encoder.scale = offset, scale
        return encoder.relaxed(noise(2, 8), 0.3)

    assert gradcheck(smooth, (offset, scale))


@pytest.mark.parametrize("kind", KINDS)
def test_relaxation_becomes_the_code_as_it_cools(kind):
    encoder = trainable(kind)
    x = noise(4, 3, 60)
    hard = encoder(x)
    assert hard.abs().sum() > 100
    gaps = [float((encoder.relaxed(x, t) - hard).abs().mean()) for t in (0.5, 0.1, 1e-4)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-3


def test_relaxed_step_forward_by_hand():
    # u = 1, so that ON is sigmoid(0) = 1/2 and OFF is sigmoid(-2 / T)
    off = torch.sigmoid(torch.tensor(-4.0, dtype=F64))
    first = 0.5 - off
    u = (1.0 - 0.5 * first) / 0.5
    second = torch.sigmoid((u - 1) / 0.5) - torch.sigmoid((-u - 1) / 0.5)
    x = torch.tensor([0.5, 1.0], dtype=F64)
    found = StepForward(0.5).relaxed(x, 0.5)
    assert torch.allclose(found, torch.stack((first, second)), atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_under_grad_has_the_same_spikes(kind, dtype):
    x = noise(2, 3, 50).to(dtype)
    plain = trainable(kind)
    learning = trainable(kind, trainable=True)
    spikes = learning(x)
    assert spikes.requires_grad
    assert spikes.dtype == dtype
    assert torch.equal(spikes.detach(), plain(x))
    assert torch.equal(learning.spikes(x), plain.spikes(x))
    both = learning.on_off(x)
    assert both.requires_grad
    assert both.shape == (2, 6, 50)
    assert torch.equal(both.detach(), plain.on_off(x))
    assert torch.equal(both[:, 0::2] - both[:, 1::2], spikes)
    assert bool((both >= 0).all())
    with torch.no_grad():
        assert not learning(x).requires_grad


def test_on_off_of_a_plain_signal():
    x = torch.tensor([0.0, 1.0, -1.0])
    assert StepForward(0.5).on_off(x).tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("kind", ["sf", "sf-first", "lif", "lif-zero"])
def test_surrogate_along_spikes_equals_the_graph_over_time(kind):
    encoder = trainable(kind)
    x = (1.5 * noise(5, 3, 40, seed=1)).requires_grad_()
    hard = encoder(x.detach()).reshape(15, 40)
    z = x.reshape(15, 40)
    p = [v.detach().clone().requires_grad_() for v in encoder._columns(z, encoder.PARAMETERS[:2])]
    if kind.startswith("sf"):
        options = {"side_band": encoder.side_band}
        graph = relax.step_forward(z, p[0], p[1], 0.3, hard, levels=0, **options)
        fast = surrogate.step_forward(z, p[0], p[1], 0.3, hard, **options)
    else:
        options = {"subtract": encoder.reset == "subtract"}
        graph = relax.lif(z, p[0], p[1], 0.3, hard, **options)
        fast = surrogate.lif(z, p[0], p[1], 0.3, hard, **options)
    weights = noise(2, 15, 40, seed=2)
    inputs = (x, p[0]) if kind == "sf-first" else (x, *p)
    results = []
    for up, down in (graph, fast):
        loss = (weights[0] * up + weights[1] * down).sum()
        results.append((up, down, *torch.autograd.grad(loss, inputs)))
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)
        assert a.abs().sum() > 0


@pytest.mark.parametrize("kind", ["sf", "lif", "lif-zero"])
def test_gradients_do_not_explode_over_long_signals(kind):
    encoder = trainable(kind)
    sizes = []
    for length in (200, 2000):
        x = noise(3, length).requires_grad_()
        encoder(x)[:, -20:].sum().backward()
        sizes.append(float(x.grad.abs().max()))
    assert sizes[1] < 2 * sizes[0] + 1


# Decoding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("initial", ["first", 0.25])
def test_step_forward_decodes_with_the_exact_derivative(initial):
    # where no spike flips, the reconstruction is initial + threshold * (spikes so far)
    x = noise(64).cumsum(0) * 0.3
    h = 2.0**-30

    def spikes_and_signal(threshold):
        encoder = StepForward(threshold, initial=initial, trainable=["threshold"])
        spikes = encoder.spikes(x).double()
        return encoder, spikes, encoder.decode(spikes, x[0] if initial == "first" else None)

    encoder, spikes, signal = spikes_and_signal(0.4)
    _, more, above = spikes_and_signal(0.4 + h)
    _, less, below = spikes_and_signal(0.4 - h)
    assert torch.equal(more, spikes)
    assert torch.equal(less, spikes)
    assert spikes.abs().sum() > 10
    slope = ((above - below) / (2 * h)).detach()
    for t in (5, 30, 63):
        (by_u,) = torch.autograd.grad(signal[t], encoder.parameters(), retain_graph=True)
        got = float(by_u) / 0.4  # threshold = 0.4 exp(u), and u is 0
        assert got == pytest.approx(float(slope[t]), abs=1e-6)
        assert got == pytest.approx(float(spikes[: t + 1].sum()), abs=1e-12)


@pytest.mark.parametrize("levels", [0, 2])
def test_step_forward_decoding_passes_gradcheck(levels):
    encoder = StepForward([0.3, 0.5], initial=[0.1, 0.2], levels=levels, trainable=True)
    spikes = encoder(noise(2, 12)).detach().requires_grad_(levels == 0)

    def decode(spikes, *_):
        return encoder.decode(spikes)

    assert gradcheck(decode, (spikes, *encoder.parameters()))
    start = noise(2).requires_grad_()
    first = StepForward(0.3, initial="first")
    assert gradcheck(lambda s, b: first.decode(s, b), (spikes, start))


@pytest.mark.parametrize("levels", [0, 2])
def test_decoding_has_the_same_bits_with_and_without_a_gradient(levels):
    encoder = StepForward([0.3, 0.5, 0.7], levels=levels, trainable=True)
    spikes = encoder(noise(4, 3, 100).float())
    with torch.no_grad():
        plain = encoder.decode(spikes)
    assert torch.equal(encoder.decode(spikes).detach(), plain)
    assert torch.equal(encoder.decode(spikes.detach()).detach(), plain)


def test_lif_decoding_passes_gradcheck():
    encoder = LIF([0.4, 0.9], [0.9, 0.6], trainable=True)
    spikes = encoder(noise(2, 12)).detach().requires_grad_()
    assert gradcheck(lambda s, *_: encoder.decode(s), (spikes, *encoder.parameters()))


# Parameters -------------------------------------------------------------------------------------


def test_parameters_start_exactly_and_stay_in_range():
    encoder = LIF([0.1, 0.7], [0.9, 0.3], trainable=True)
    assert encoder.threshold.tolist() == [0.1, 0.7]
    assert encoder.leak.tolist() == [0.9, 0.3]
    optimiser = torch.optim.SGD(encoder.parameters(), lr=1.0)
    for _ in range(3):
        for p in encoder.parameters():
            p.grad = torch.full_like(p, 2.0)
        optimiser.step()
    assert bool((encoder.threshold > 0).all())
    assert bool(((encoder.leak > 0) & (encoder.leak < 1)).all())
    # six down in the logarithm: of the threshold, and of the inverse time constant
    assert torch.allclose(
        encoder.threshold / torch.tensor([0.1, 0.7]).exp().log(),
        torch.exp(torch.tensor(-6.0, dtype=F64)),
        rtol=1e-6,
    )
    fewer = torch.log(encoder.leak) / torch.log(torch.tensor([0.9, 0.3], dtype=F64))
    assert torch.allclose(fewer, torch.exp(torch.tensor(-6.0, dtype=F64)), rtol=1e-6)


def test_only_what_was_asked_for_learns():
    encoder = LIF(0.5, 0.8, trainable=["leak"])
    assert [n for n, _ in encoder.named_parameters()] == ["parametrizations.leak.original"]
    assert not encoder.threshold.requires_grad
    assert not list(LIF(0.5, 0.8).parameters())


def test_trained_encoder_can_be_copied_assigned_saved():
    encoder = StepForward([0.2, 0.4], trainable=True)
    encoder.threshold = torch.tensor([0.5, 0.6], dtype=F64)
    assert encoder.threshold.tolist() == [0.5, 0.6]
    with torch.no_grad():
        for p in encoder.parameters():
            p += 0.1
    twin = copy.deepcopy(encoder)
    other = StepForward([0.2, 0.4], trainable=True)
    other.load_state_dict(encoder.state_dict())
    x = noise(2, 50)
    for same in (twin, other):
        assert torch.equal(same.threshold, encoder.threshold)
        assert torch.equal(same.spikes(x), encoder.spikes(x))


def test_trained_encoder_has_a_golden_model():
    encoder = LIF([0.25, 0.5], 0.5, trainable=True)
    with torch.no_grad():
        for p in encoder.parameters():
            p += 0.5
    settings = encoder.fixed(Fixed(16, 8)).settings
    assert settings["threshold"].tolist() == [round(64 * math.exp(0.5)), round(128 * math.exp(0.5))]
    assert settings["leak"].tolist() == [round(65536 * 0.5 ** math.exp(0.5))] * 2


def test_training_a_threshold_finds_a_better_one():
    x = (noise(1, 400, seed=3) * 0.1).cumsum(1)
    encoder = StepForward(2.0, initial=0.0, trainable=["threshold"])
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.05)
    errors = []
    for _ in range(60):
        loss = (encoder.decode(encoder(x)) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < errors[0] / 10


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [PWM(), BSA(), Delta()])
def test_codes_without_a_gradient_say_so(encoder):
    x = torch.rand(100).requires_grad_()
    with pytest.raises(InputError, match=f"{encoder.NAME} has no gradient: encode under"):
        encoder(x)
    with pytest.raises(InputError, match=f"{encoder.NAME} has no gradient"):
        encoder.on_off(x)
    with pytest.raises(InputError, match="has no gradient"):
        encoder.relaxed(x.detach())
    with torch.no_grad():
        encoder(x)
    encoder(x.detach())
    with pytest.raises(InputError, match="train"):
        type(encoder)(trainable=True)


def test_other_refusals():
    x = torch.rand(100).requires_grad_()
    with pytest.raises(InputError, match="a stream carries no gradient"):
        StepForward().step(x)
    StepForward().step(x.detach())
    with pytest.raises(InputError, match="temperature must be > 0, not 0"):
        StepForward().relaxed(x, 0)
    with pytest.raises(InputError, match=r"step-forward cannot train \['leak'\]: only"):
        StepForward(trainable=["leak"])
    with pytest.raises(InputError, match=r"between 0 and 1, not at 1\.0"):
        LIF(1.0, 1.0, trainable=["leak"])
    for lif in (LIF(refractory=2), LIF(profile="compat", normalise=False)):
        with pytest.raises(InputError, match="without a refractory period"):
            lif(x)
    with pytest.raises(InputError, match="profile='compat' has no gradient"):
        LIF(profile="compat")(x)
    encoder = StepForward(trainable=True)
    with pytest.raises(InputError, match="a threshold must be > 0"):
        encoder.threshold = torch.tensor(-1.0, dtype=F64)
    bad = torch.tensor([0.0, float("nan")], requires_grad=True)
    with pytest.raises(InputError, match=r"signal\[1\] is nan"):
        encoder(bad)


def test_a_single_name_may_be_trained():
    encoder = LIF(0.5, 0.8, trainable="threshold")
    assert encoder.threshold.requires_grad
    assert not encoder.leak.requires_grad
    with pytest.raises(InputError, match=r"lif cannot train \['gain'\]: only"):
        LIF(0.5, 0.8, trainable="gain")
