"""Rows of benchmarks/pretrained.py: kept from run to run while nothing they depend on changes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
pretrained = pytest.importorskip("pretrained", reason="needs Pillow and numpy")


class Counted:
    """A task that counts how often it is measured."""

    def __init__(self) -> None:
        self.runs = 0
        self.model = nn.Sequential(nn.Linear(4, 6), nn.ReLU6(), nn.Linear(6, 3))
        self.task = pretrained.Task(
            model=lambda: self.model,
            calibration=lambda: torch.ones(8, 4).tril(),
            recipe={"granularity": "channel"},
            prepare=lambda model: torch.rand(5, 4),
            measure=self.measure,
            bars={"agreement": 0.9, "error": -0.5, "agreement8": 0.8},
        )

    def measure(self, snn, x):
        self.runs += 1
        assert snn(x).shape == (5, 3)
        return {"agreement": 0.85, "error": 0.6}


@pytest.fixture
def counted(monkeypatch):
    made = Counted()
    monkeypatch.setattr(pretrained, "TASKS", {"made": made.task})
    return made


def run(path, again=False, weights=("float", "8")):
    return pretrained.run("made", [2, 8], list(weights), pretrained.Store(path, again))


def test_a_rerun_takes_rows_from_the_file(counted, tmp_path, monkeypatch, capsys):
    path = tmp_path / "deep" / "rows.json"
    missed = run(path)
    assert counted.runs == 4
    first = capsys.readouterr().out
    assert run(path) == missed
    assert counted.runs == 4
    assert capsys.readouterr().out == first
    # one row lost: only that is made again
    store = pretrained.Store(path, again=False)
    assert [(r["steps"], r["weights"]) for r in store.rows] == [
        (2, "float"), (2, "8"), (8, "float"), (8, "8"),
    ]  # fmt: skip
    store.rows.pop(1)
    store.add(store.rows[0])
    run(path)
    assert counted.runs == 5
    run(path, again=True)
    assert counted.runs == 9
    # another recipe: rows are made again, and take the place of the old ones
    other = replace(counted.task, recipe={"granularity": "tensor"})
    monkeypatch.setattr(pretrained, "TASKS", {"made": other})
    run(path)
    assert counted.runs == 13
    assert len(pretrained.Store(path, again=False).rows) == 4


def test_only_bars_at_eight_steps_count(counted, tmp_path):
    missed = run(tmp_path / "rows.json")
    assert missed == [
        "made: agreement 0.8500, bar 0.9, weights float",
        "made: error 0.6000, bar 0.5, weights float",
        "made: error 0.6000, bar 0.5, weights 8",
    ]


def test_a_row_knows_its_recipe_and_its_samples(counted):
    task, x = counted.task, torch.rand(3, 4)
    same = pretrained.mark(task, x)
    assert pretrained.mark(task, x.clone()) == same
    assert pretrained.mark(task, x + 1e-3) != same
    assert pretrained.mark(task, x.view(4, 3)) != same
    assert pretrained.mark(replace(task, recipe={"granularity": "tensor"}), x) != same
    assert pretrained.mark(task, {"a": x, "b": x}) != pretrained.mark(task, {"a": x, "c": x})
