"""Every test starts with the same random numbers, in any order and on any worker."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_random_numbers():
    torch.manual_seed(20261121)
