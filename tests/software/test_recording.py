"""Signals from files: every format, and one clear line for what cannot be read."""

import struct
import wave

import numpy as np
import pytest
from spikeloom.errors import InputError
from spikeloom.recording import load_recording, named_or_file


def write_wav(path, width, samples, channels=1, rate=8000):
    """Integers as PCM of ``width`` bytes."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        offset = 128 if width == 1 else 0
        sound.writeframes(
            b"".join((int(s) + offset).to_bytes(width, "little", signed=width > 1) for s in samples)
        )


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_of_every_width(tmp_path, width):
    top = 1 << (8 * width - 1)
    samples = [0, 1, -1, top - 1, -top, top // 2]
    write_wav(tmp_path / "a.wav", width, samples)
    found = load_recording(tmp_path / "a.wav")
    assert found.rate == 8000
    assert found.values.tolist() == [[s / top for s in samples]]


def test_stereo_and_a_chosen_channel(tmp_path):
    write_wav(tmp_path / "a.wav", 3, [1, -2, 3, -4], channels=2, rate=44100)
    both = load_recording(tmp_path / "a.wav")
    assert both.values.shape == (2, 2)
    assert both.seconds == pytest.approx(2 / 44100)
    right = load_recording(tmp_path / "a.wav", channels=["1"])
    assert np.array_equal(right.values, both.values[1:])


def test_a_csv_with_header_and_time(tmp_path):
    (tmp_path / "a.csv").write_text("time,x,y\n0,1,2\n0.02,3,4\n0.04,5,6\n")
    found = load_recording(tmp_path / "a.csv")
    assert found.names == ("x", "y")
    assert found.rate == pytest.approx(50)
    assert found.values.tolist() == [[1, 3, 5], [2, 4, 6]]
    assert load_recording(tmp_path / "a.csv", channels=["y"], rate=10).rate == 10


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_a_csv_without_header(tmp_path, mark):
    (tmp_path / "a.csv").write_text(f"\n1{mark}2\n3{mark}4\n5{mark}-6e-1\n\n\n")
    found = load_recording(tmp_path / "a.csv")
    assert found.values.tolist() == [[1, 3, 5], [2, 4, -0.6]]
    assert found.rate == 1


def test_columns_that_are_not_wanted_may_be_anything(tmp_path):
    (tmp_path / "a.csv").write_text("t,x,note\n0,1,start\n1,2,\n2,3,end\n")
    found = load_recording(tmp_path / "a.csv", channels=["x"])
    assert found.values.tolist() == [[1, 2, 3]]
    assert found.rate == 1
    with pytest.raises(InputError, match="line 2, column 'note': 'start'.*--channel"):
        load_recording(tmp_path / "a.csv")
    with pytest.raises(InputError, match="no channel 'zz': it has x, note"):
        load_recording(tmp_path / "a.csv", channels=["zz"])


def test_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5, dtype=np.int16))
    assert load_recording(tmp_path / "a.npy", rate=3).values.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "x,y\n1,2\n3,\n", "line 3, column 'y': a gap is no finite number"),
        ("a.csv", "x,y\n1,2\n3,hello\n", "line 3, column 'y': 'hello'"),
        ("a.csv", "x\n1\n\n2\n", "line 3: a gap, the line is empty"),
        ("a.csv", "x\n1\nnan\n", "line 3, column 'x': 'nan'"),
        ("a.csv", "1,2\n3\n", "line 2: 1 columns, expected 2"),
        ("a.csv", "", "is empty"),
        ("a.csv", "x,y\n", "holds 0 samples"),
        ("a.csv", "t,x\n0,1\n1,2\n5,3\n6,4\n7,5\n", "goes from 1 to 5 after sample 1"),
        ("a.wav", "no sound", "is no WAV sound"),
        ("a.npy", "no array", "is no .npy array"),
        ("a.mp3", "x", r"cannot read \.mp3 files; give a \.csv"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_recording(tmp_path / name)


def riff(head, data):
    """A WAV file, with a chunk of odd length that is to be skipped."""
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"note\x03\0\0\0abc\0"
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_floats_and_the_extensible_header(tmp_path):
    data = struct.pack("<4f", 0, 0.5, 1.25, -1)
    (tmp_path / "a.wav").write_bytes(riff(struct.pack("<HHIIHH", 3, 1, 500, 2000, 4, 32), data))
    assert load_recording(tmp_path / "a.wav").values.tolist() == [[0, 0.5, 1.25, -1]]
    head = struct.pack("<HHIIHH", 0xFFFE, 1, 500, 1500, 3, 24)
    head += struct.pack("<HHIH", 22, 24, 4, 1) + bytes(14)
    (tmp_path / "b.wav").write_bytes(riff(head, b"\0\0\x40\0\0\x80"))
    assert load_recording(tmp_path / "b.wav").values.tolist() == [[0.5, -1]]


def test_a_wav_of_another_format_is_refused_with_a_way_out(tmp_path):
    head = struct.pack("<HHIIHH", 6, 1, 500, 500, 1, 8)
    (tmp_path / "a.wav").write_bytes(riff(head, bytes(9)))
    with pytest.raises(InputError, match="8-bit samples of WAV format 6.*sox"):
        load_recording(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(riff(head, bytes(9))[:30])
    with pytest.raises(InputError, match="cut before its samples"):
        load_recording(tmp_path / "b.wav")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((9, 2)), "transpose it"),
        (np.zeros((2, 3, 4)), r"\(channels, time\)"),
        (np.array(["a", "b"]), "a signal is numbers"),
        (np.array([1.0, np.nan, 2.0]), "sample 1 of 'channel 0' is nan"),
        (np.array([1.0]), "holds 1 samples"),
    ],
)
def test_arrays_that_are_no_signal(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=message):
        load_recording(tmp_path / "a.npy")


def test_unknown_channel_missing_file_wrong_rate(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n")
    with pytest.raises(InputError, match="no channel 'z': it has x, y"):
        load_recording(tmp_path / "a.csv", channels=["z"])
    with pytest.raises(InputError, match="no signal at"):
        load_recording(tmp_path / "b.csv")
    for rate in (0, -1, float("nan")):
        for name in (str(tmp_path / "a.csv"), "sines"):
            with pytest.raises(InputError, match="finite number of Hz above 0"):
                named_or_file(name, rate=rate)
