"""The CUDA kernels in Triton's interpreter: the bits of the torch reference, without a GPU."""

import os
import subprocess
import sys

import pytest

# the interpreter is chosen when triton is imported, so that a process of its own is needed
SCRIPT = """
import torch, spikeloom as sl
torch.manual_seed(5)
checked = 0
for dtype in (torch.float32, torch.float64):
    x = (torch.randn(2, 3, 150, dtype=dtype) * 0.4).cumsum(-1)
    for encoder in {encoders}:
        with sl.encoders.engine("torch"):
            wanted = encoder(x)
        with sl.encoders.engine("triton"):
            whole = encoder(x)
            state, parts = None, []
            for chunk in x.split([1, 70, 79], -1):
                part, state = encoder.step(chunk, state)
                parts.append(part)
        assert torch.equal(whole, wanted), encoder
        assert torch.equal(torch.cat(parts, -1), wanted), encoder
        assert wanted.any()
        checked += 1
bad = x.clone()
bad[1, 2, 7] = float("nan")
try:
    with sl.encoders.engine("triton"):
        encoder(bad)
except sl.SpikeloomError as error:
    assert "signal[1, 2, 7] is nan" in str(error), error
    checked += 1
print(checked)
"""

ENCODERS = {
    "step-forward": """(
        sl.encoders.StepForward(0.3),
        sl.encoders.StepForward([0.1, 0.2, 0.4], initial="first", offset=0.1, scale=1.7),
        sl.encoders.StepForward(0.1, levels=3, initial=0.2),
        sl.encoders.StepForward(0.1, levels=2, initial="first"),
    )""",
    "lif": """(
        sl.encoders.LIF(0.6, 0.8),
        sl.encoders.LIF([0.3, 0.5, 0.9], 0.7, reset="subtract", offset=0.1, scale=1.7),
        sl.encoders.LIF(0.3, 0.9, refractory=3),
        sl.encoders.LIF(0.3, 0.9, refractory=2, reset="subtract"),
    )""",
}


@pytest.mark.parametrize("name", ENCODERS)
def test_interpreted_kernels_equal_the_reference(name):
    pytest.importorskip("triton", reason="triton is not installed: pip install triton")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(encoders=ENCODERS[name])],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["9"]
