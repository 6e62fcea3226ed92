"""Forms of layers that lowering writes out for gates, in gates: every potential and every word."""

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom_boards.registry import board
from spikeloom_sim.harness import CoreHarness, Stalls
from spikeloom_sim.trace import run_trace
from torch import nn

SAMPLES = 12


class Summed(nn.Module):
    """Two convolutions and words in one sum, which a bound ends; its mean over time decides."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(6, 6, 3, padding=2, dilation=2), nn.Conv1d(6, 6, 1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc((self.a(x) + self.b(x) + x).clamp(0, 1).mean(2))


def model() -> nn.Module:
    return nn.Sequential(
        nn.ZeroPad1d((2, 1)), nn.Conv1d(3, 6, 4), nn.ReLU6(), nn.Conv1d(6, 6, 3, groups=3),
        nn.Hardtanh(0, 2), nn.MaxPool1d(3, 2, ceil_mode=True), Summed(),
    )  # fmt: skip


@pytest.mark.parametrize("weight_bits", [8])
def test_one_dimension_bounds_dilation_groups_and_a_sum_of_three(weight_bits):
    random = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = model().eval()
    data = random.integers(0, 256, (60, 3, 16), dtype=np.uint8)
    network = sl.lower(sl.convert(made, data, steps=4, integers=True), weight_bits)
    kinds = [op.kind for op in network.layers]
    assert kinds == [
        "pad2d", "conv2d", "conv2d", "pad2d", "maxpool2d", "conv2d", "conv2d", "avgpool2d",
        "readout",
    ]  # fmt: skip
    parameters = network.parameters(board("ulx3s-85f").fold(network))
    record = run_trace(
        network,
        parameters,
        network.encode(data[:SAMPLES]),
        harness=CoreHarness(parameters, name="core-forms", optimise="-O1"),
        stalls=Stalls(1, 0.02, 0.02, inside=0.02),
    )
    assert record.compared > SAMPLES * network.classes
    assert not record.differing, record.verdict()
