"""The example that learns an encoder runs from beginning to end."""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "software" / "examples" / "learn_encoder.py"


def test_quick_run_prints_frozen_against_learned(monkeypatch, capsys):
    try:
        importlib.metadata.distribution("seglearn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("seglearn is not installed")
    spec = importlib.util.spec_from_file_location("learn_encoder", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "learn_encoder", example)
    spec.loader.exec_module(example)
    monkeypatch.setattr(sys, "argv", ["learn_encoder", "--quick"])
    assert example.main() == 0
    out = capsys.readouterr().out
    rows: dict[str, str] = {}
    for line in out.splitlines():
        if words := line.split():
            rows.setdefault(words[0], line)
    assert rows["mean"].count("%") == 2
    fitted, learned = rows["fitted"].split()[1:], rows["learned"].split()[1:]
    assert len(fitted) == len(learned) == 12  # threshold and leak of six axes
    assert fitted != learned
    assert "points, mean of 1 seeds" in out
