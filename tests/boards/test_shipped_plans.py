"""The plans that come with the shipped networks."""

from importlib import resources
from pathlib import Path

import pytest
from spikeloom.shipped import open_network
from spikeloom_boards.plan_file import read_plan
from spikeloom_boards.registry import board
from spikeloom_boards.shipped_plans import shipped_foldings
from spikeloom_sim.random_network import random_network

FOLDER = Path(str(resources.files("spikeloom_boards") / "plans"))
FILES = sorted(path.name for path in FOLDER.glob("*.toml"))


def test_there_are_some():
    assert "scnn5.ulx3s-85f.toml" in FILES


@pytest.mark.parametrize("name", FILES)
def test_a_plan_fits_its_network_and_the_board_uses_it(name):
    net, device = name.removesuffix(".toml").split(".")
    network, plan = open_network(net), read_plan(FOLDER / name)
    assert plan.board == device
    # else it was made for other gateware, and would silently no longer be used: plan it again
    plan.parameters(network)
    assert board(device).fold(network) == plan.foldings


def test_another_network_has_none():
    network = random_network((30, 12, 5), seed=3, bits=(8, 4))
    assert shipped_foldings(network, board("ulx3s-85f")) is None
    assert len(board("ulx3s-85f").fold(network)) == 2
