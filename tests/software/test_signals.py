import importlib.metadata
import pickle
from pathlib import Path

import numpy as np
import pytest
from spikeloom.errors import InputError
from spikeloom.study import signals


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


watch = pytest.mark.skipif(not _installed("seglearn"), reason="seglearn is not installed")
beats = pytest.mark.skipif(not _installed("pywavelets"), reason="pywavelets is not installed")


class Elsewhere:
    """A distribution whose files are where the test put them."""

    def __init__(self, version: str, folder: Path):
        self.version, self.folder = version, folder

    def locate_file(self, path: str) -> Path:
        return self.folder / Path(path).name


def redirect(monkeypatch, distribution) -> None:
    def find(name: str):
        if distribution is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return distribution

    monkeypatch.setattr(signals.importlib.metadata, "distribution", find)


@pytest.mark.parametrize("name", [n for n in signals.NAMES if n != "ecg"])
def test_every_signal_spans_0_to_1(name):
    x = signals.signal(name)
    assert x.dtype == np.float32
    assert x.shape == (1000,)
    assert (x.min(), x.max()) == (0, 1)
    assert np.array_equal(x, signals.signal(name))


@beats
def test_the_ecg_is_the_record_of_pywavelets():
    x = signals.signal("ecg")
    assert x.shape == (1024,)
    assert (x.min(), x.max()) == (0, 1)
    with pytest.raises(InputError, match="1024 samples, not 2000"):
        signals.signal("ecg", 2000)


def test_steps_are_ten_levels_and_noise_follows_the_seed():
    x = signals.signal("steps")
    assert len(np.unique(x)) == 10
    assert np.flatnonzero(np.diff(x)).tolist() == [100 * k - 1 for k in range(1, 10)]
    assert not np.array_equal(x, signals.signal("steps", seed=1))
    noisy = [signals.signal("noisy-sine", seed=s) for s in (0, 1)]
    assert not np.array_equal(*noisy)


def test_the_chirp_has_13_cycles_from_slow_to_fast():
    x = signals.signal("chirp") - 0.5
    rises = np.flatnonzero((x[:-1] < 0) & (x[1:] >= 0))
    assert len(rises) in (12, 13)  # 1 + 12: the one at t = 0 has no sample before it
    assert (np.diff(np.diff(rises)) <= 1).all()  # each cycle no longer than the one before


def test_unknown_names_and_lengths_are_refused():
    with pytest.raises(InputError, match=r"no test signal 'saw': one of sines, chirp, ecg"):
        signals.signal("saw")
    with pytest.raises(InputError, match="at least 2 samples, not 1"):
        signals.signal("sines", 1)
    assert signals.signal("steps", 2).shape == (2,)


@watch
def test_the_smartwatch_has_140_recordings_of_10_subjects():
    recordings = signals.smartwatch()
    assert len(recordings) == 140
    assert {r.subject for r in recordings} == set(range(1, 11))
    assert {r.exercise for r in recordings} == set(range(len(signals.EXERCISES)))
    lengths = [r.samples.shape[1] for r in recordings]
    assert (min(lengths), max(lengths)) == (947, 2618)
    assert all(r.samples.shape[0] == 6 and r.samples.dtype == np.float32 for r in recordings)
    # a watch at rest feels 1 g: axes and units are where they should be
    acceleration = np.concatenate([r.samples[:3] for r in recordings], 1)
    assert 0.9 < np.median(np.linalg.norm(acceleration, axis=0)) < 1.1


def test_windows_are_cut_from_one_recording_each():
    ramp = np.arange(12, dtype=np.float32)
    recordings = [
        signals.Recording(np.tile(ramp[:n], (6, 1)), exercise=n, subject=k)
        for k, n in enumerate((12, 3, 7))
    ]
    x, exercise, subject = signals.windows(recordings, length=5, stride=3)
    assert x.shape == (4, 6, 5)
    assert x[:, 2, 0].tolist() == [0, 3, 6, 0]
    assert exercise.tolist() == [12, 12, 12, 7]
    assert subject.tolist() == [0, 0, 0, 2]
    with pytest.raises(InputError, match="none of 3 recordings has a window of 13 samples"):
        signals.windows(recordings, 13, 1)
    with pytest.raises(InputError, match="at least 1"):
        signals.windows(recordings, 5, 0)


def test_missing_packages_say_what_to_install(monkeypatch):
    redirect(monkeypatch, None)
    with pytest.raises(InputError, match="pip install --no-deps seglearn==1.2.5"):
        signals.smartwatch()
    with pytest.raises(InputError, match="pip install pywavelets"):
        signals.signal("ecg")


class Trap:
    """Anything but harmless, once unpickled."""

    opened = False

    def __reduce__(self):
        return (setattr, (Trap, "opened", True))


def test_a_changed_pickle_is_never_opened(monkeypatch, tmp_path):
    path = tmp_path / "watch_dataset.npy"
    np.save(path, np.array({"X": Trap()}, dtype=object), allow_pickle=True)
    redirect(monkeypatch, Elsewhere("1.2.5", tmp_path))
    with pytest.raises(InputError, match="not the file of seglearn 1.2.5"):
        signals.smartwatch()
    redirect(monkeypatch, Elsewhere("1.2.6", tmp_path))
    with pytest.raises(InputError, match="seglearn 1.2.6 are a pickle that nobody has checked"):
        signals.smartwatch()
    redirect(monkeypatch, Elsewhere("1.2.5", tmp_path / "nowhere"))
    with pytest.raises(InputError, match="cannot read"):
        signals.smartwatch()
    assert not Trap.opened
    pickle.loads(pickle.dumps(Trap()))
    assert Trap.opened, "the trap would not have closed"


def test_a_damaged_ecg_is_refused(monkeypatch, tmp_path):
    (tmp_path / "ecg.npz").write_bytes(b"not a zip")
    redirect(monkeypatch, Elsewhere("1.9.0", tmp_path))
    with pytest.raises(InputError, match="does not hold an ECG"):
        signals.signal("ecg")
