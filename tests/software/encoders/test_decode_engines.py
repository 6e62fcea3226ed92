"""Decoders of both engines give the same bits, for real trains, empty ones and any others."""

import pytest
import torch
from spikeloom.encoders import BSA, LIF, PWM, Delta, StepForward, engine

ENCODERS = {
    "step-forward": StepForward(0.1, levels=2),
    "lif": LIF([0.3, 0.5, 0.9], 0.8),
    "delta": Delta(0.1, quanta=3),
    "pwm": PWM(0.05),
    "pwm, three carriers that restart": PWM([0.03, 0.01, 0.2], carrier="restart"),
    "pwm, held": PWM(0.05, hold=True),
    "pwm, unipolar": PWM(0.07, bipolar=False),
    "bsa": BSA(0.5),
    "bsa, filters of several lengths": BSA(0.5, order=[3, 7, 9]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ENCODERS)
def test_decoders_agree(name, dtype):
    encoder = ENCODERS[name]
    x = 0.5 + 0.5 * torch.sin(torch.rand(2, 3, 333, dtype=dtype).cumsum(-1) / 9)
    spikes = encoder(x)
    assert spikes.any()
    for train in (spikes, spikes * 0, torch.randint(-1, 2, x.shape).to(dtype), spikes[..., :1]):
        for initial in (None,) if name == "lif" else (None, x[..., 0]):
            found = []
            for which in ("torch", "numba"):
                with engine(which):
                    found.append(encoder.decode(train, initial))
            assert torch.equal(*found)
            assert found[0].dtype == dtype
