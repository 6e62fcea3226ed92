"""A comparison of encoders: its figures against definitions, its tables, its pictures."""

import json

import numpy as np
import pytest
from rich.console import Console
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import (
    BSAParameters,
    LIFParameters,
    PopulationParameters,
    StepForwardParameters,
)
from spikeloom.recording import Recording
from spikeloom.study import compare as module
from spikeloom.study.codes import CODES, LONGEST_FIT, Coded, Point
from spikeloom.study.compare import compare
from spikeloom.study.compare_plots import draw_comparison
from spikeloom.study.compare_table import cost_table, fidelity_table, to_json, work_table
from spikeloom.study.encoder_area import AreaTable, CoreArea, EncoderArea
from spikeloom.study.fidelity import snr_db
from spikeloom.study.operations import operations

TIME = np.arange(400)
VALUES = np.stack([np.sin(TIME / 20), 3 + 0.5 * np.sin(TIME / 31)])
RECORDING = Recording(VALUES, ("x", "y"), 50.0)
NAMES = ("step-forward", "bsa", "phase")


@pytest.fixture(scope="module")
def comparison():
    return compare(RECORDING, names=NAMES, target_density=0.2)


def test_figures_are_those_of_the_spikes(comparison):
    assert [entry.name for entry in comparison.entries] == list(NAMES)
    for entry in comparison.entries:
        assert entry.estimate.shape == VALUES.shape
        assert entry.snr == snr_db(VALUES, entry.estimate)
        assert entry.density == np.abs(entry.spikes.astype(int)).sum() / VALUES.size
        assert entry.snr > 5
    step_forward, bsa, phase = comparison.entries
    # events: 16-bit time stamps, a polarity, a channel; or two bits a sample of two channels
    assert step_forward.bits_per_second == min(2 * 50 * 2, step_forward.density * 100 * 18)
    assert bsa.latency > 0 == phase.latency
    assert phase.spikes.shape == (*VALUES.shape, int(phase.settings["steps"]))


def test_curves_rise(comparison):
    for entry in comparison.entries:
        densities = [p.density for p in entry.curve]
        snrs = [p.snr for p in entry.curve]
        assert densities == sorted(densities)
        assert snrs == sorted(snrs)
        assert any(
            p.density == pytest.approx(entry.density) or p.snr >= entry.snr for p in entry.curve
        )


def test_the_same_seed_gives_the_same_comparison(comparison):
    again = compare(RECORDING, names=NAMES[:1], target_density=0.2)
    assert again.entries[0].settings == comparison.entries[0].settings


def made(density, snr, points):
    """An encoder whose fit met some points."""
    noise = np.sqrt(VALUES.var(axis=1) * 10 ** (-snr / 10))[:, None]
    spikes = np.zeros(VALUES.shape, dtype=np.int8)
    spikes.reshape(-1)[: int(density * VALUES.size)] = 1
    estimate = VALUES + noise
    return Coded(spikes, estimate, {}, 0, StepForwardParameters(), (points,))


def test_matching_interpolates_and_never_extrapolates(monkeypatch):
    points = (Point(0.1, 10.0), Point(0.3, 20.0))
    code = CODES["step-forward"]

    def fixed(coded):
        return {"step-forward": type(code)(lambda *_: coded, 2, 17)}

    monkeypatch.setattr(module, "CODES", fixed(made(0.3, 20.0, points)))
    found = compare(RECORDING, target_snr=15.0, target_density=0.2).entries[0]
    assert found.density_at_snr == pytest.approx(0.2)
    assert found.snr_at_density == pytest.approx(15.0)
    found = compare(RECORDING, target_snr=21.0, target_density=0.05).entries[0]
    assert found.density_at_snr is None
    assert found.snr_at_density is None
    # better than asked at its sparsest; sparser than asked at its best
    found = compare(RECORDING, target_snr=5.0, target_density=0.9).entries[0]
    assert found.density_at_snr == pytest.approx(0.1)
    assert found.snr_at_density == pytest.approx(20.0)


def test_tables_fit_a_narrow_terminal(comparison):
    area = CoreArea("x", 101, 0, 202, 3, 0, 123.4, 1, "")
    areas = AreaTable({}, (EncoderArea("step-forward", "", {}, 5, 1, {"ecp5": area}),))
    screen = Console(width=80, record=True)
    for table in (
        fidelity_table(comparison),
        work_table(comparison),
        cost_table(comparison, areas),
    ):
        screen.print(table)
    text = screen.export_text()
    assert "…" not in text
    for name in NAMES:
        assert text.count(name) == 3
    assert "202" in text
    assert "123" in text
    found = json.loads(to_json(comparison, areas))
    assert found["encoders"][0]["core"]["ecp5"]["lut4"] == 101
    assert found["encoders"][1]["core"] is None


def test_pictures_are_drawn(comparison, tmp_path):
    paths = draw_comparison(comparison, tmp_path)
    assert [p.name for p in paths] == ["pareto.png", *(f"{name}.png" for name in NAMES)]
    for path in paths:
        assert path.read_bytes()[:4] == b"\x89PNG"


def test_work_follows_the_rule():
    assert operations(StepForwardParameters(), 0.3).adds == 3
    assert operations(LIFParameters(), 0.3).multiplies == 1
    few, many = (operations(BSAParameters(taps=n), 0.5) for n in (10, 20))
    assert many.adds - few.adds == 45
    assert operations(BSAParameters(), 0.0).adds < operations(BSAParameters(), 1.0).adds
    with pytest.raises(InputError, match="no operation count for population"):
        operations(PopulationParameters(), 0.1)


def test_bad_input():
    with pytest.raises(InputError, match="no encoder nonsense: there are step-forward"):
        compare(RECORDING, names=["nonsense"])
    with pytest.raises(InputError, match="no channel ever changes: y"):
        compare(Recording(np.ones((1, 400)), ("y",), 1.0))
    with pytest.raises(InputError, match=r"must be above 0 spikes a sample: 0\.0"):
        compare(RECORDING, target_density=0.0)


def test_what_cannot_be_compared_is_left_out_with_a_line():
    told = []
    flat = Recording(np.stack([VALUES[0], np.ones(400)]), ("x", "y"), 1.0)
    found = compare(flat, names=["Step_Forward"], progress=told.append)
    assert found.recording.names == ("x",)
    assert told == ["left out: 'y', which never changes", "fitting step-forward"]


def test_short_records_have_short_filters():
    short = Recording(VALUES[:, :20], ("x", "y"), 1.0)
    found = compare(short, names=["bsa", "hough-spiker", "lif"])
    assert [entry.name for entry in found.entries] == ["bsa", "hough-spiker", "lif"]


def test_parameters_of_long_records_come_from_their_beginning():
    wave = np.sin(np.arange(3 * LONGEST_FIT) / 30)[None]
    wave[0, -1] = 9.0  # seen by the normalisation, not by the search
    found = compare(Recording(wave, ("x",), 1.0), names=["pwm"]).entries[0]
    assert found.estimate.shape == wave.shape
    assert found.estimate.max() <= 9.0 + 1e-9
    assert found.snr > 5
