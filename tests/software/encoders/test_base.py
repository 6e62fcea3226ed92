from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from spikeloom.encoders import LIF, Delta, Rate, StepForward, base, engine
from spikeloom.encoders.base import as_floats, column, engine_for, threaded
from spikeloom.encoders.kernels.step_forward import encode
from spikeloom.errors import InputError


def test_unknown_engine_is_refused():
    with pytest.raises(InputError, match="no engine 'cuda': one of auto, torch, numba, triton"):
        engine("cuda").__enter__()  # type: ignore[arg-type]


def test_engine_holds_inside_its_block_only():
    x = torch.zeros(3)
    assert engine_for(x) == "numba"
    with engine("torch"):
        assert engine_for(x) == "torch"
        with engine("numba"):
            assert engine_for(x) == "numba"
        assert engine_for(x) == "torch"
    assert engine_for(x) == "numba"


def test_numba_is_optional(monkeypatch):
    monkeypatch.setattr(base, "installed", lambda package: False)
    assert engine_for(torch.zeros(3)) == "torch"
    assert StepForward(0.5)(torch.tensor([1.0, -1.0])).tolist() == [1, -1]
    with pytest.raises(InputError, match=r"numba is not installed: pip install 'spikeloom"):
        engine("numba").__enter__()


def test_numba_does_not_run_beside_the_cpu():
    with engine("numba"), pytest.raises(InputError, match="numba runs on the CPU, not on meta"):
        engine_for(torch.zeros(3, device="meta"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), "must be float32 or float64, not int64"),
        (torch.zeros(3, dtype=torch.float16), "must be float32 or float64, not float16"),
        (np.zeros(3, dtype=np.int16), "must be float32 or float64, not int16"),
        (np.zeros(3, dtype=np.complex64), "must be float32 or float64, not complex64"),
        (torch.tensor(1.0), "must have a time axis"),
        (1.5, "must have a time axis"),
        (torch.zeros(0), r"is empty: its shape is \(0,\)"),
        (torch.zeros(2, 0, 5), r"is empty: its shape is \(2, 0, 5\)"),
        ([[1.0], [1.0, 2.0]], "must be an array of numbers"),
        (["a"], "must be an array of numbers"),
        (None, "must be an array of numbers"),
    ],
)
@pytest.mark.parametrize(
    "encoder", [StepForward(), LIF(), Delta(), LIF(profile="compat")], ids=repr
)
def test_signals_of_a_wrong_kind_are_refused(encoder, x, message):
    with pytest.raises(InputError, match=message):
        encoder(x)
    with pytest.raises(InputError, match=message):
        encoder.spikes(x)


def test_anything_like_an_array_of_floats_is_taken():
    x = [1.0, -1.0, 0.25]
    expected = StepForward(0.5)(torch.tensor(x)).tolist()
    array = np.array(x)
    read_only = array.copy()
    read_only.flags.writeable = False
    for given in (x, tuple(x), array, read_only, array[::-1][::-1], array[::-1].copy()[::-1]):
        assert StepForward(0.5)(given).tolist() == expected
    assert as_floats(np.float32([1, 2])).dtype == torch.float32


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("engine_name", ["torch", "numba"])
@pytest.mark.parametrize(
    "encoder",
    [
        StepForward(),
        StepForward(initial="first"),
        StepForward(levels=1),
        LIF(),
        LIF(refractory=3),
        LIF(profile="compat"),
        LIF(profile="compat", normalise=False),
        Delta(log=True, initial="first"),
    ],
    ids=lambda e: f"{e.NAME} {e.extra_repr()}",
)
@pytest.mark.parametrize("place", [(0, 0, 0), (2, 1, 4), (1, 0, 3)])
def test_first_number_that_is_not_finite_is_named(encoder, engine_name, place, bad):
    x = torch.ones(3, 2, 5)
    x[place] = bad
    x[2, 1, 4] = math.nan
    index = ", ".join(map(str, place))
    what = str(float(x[place]))
    with engine(engine_name), pytest.raises(InputError, match=rf"signal\[{index}\] is {what}:"):
        encoder(x)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, "x must be a finite number > 0, not 0.0"),
        ([0.1, -0.2], "x must be a finite number > 0, not -0.2"),
        (math.nan, "x must be a finite number > 0, not nan"),
        (math.inf, "x must be a finite number > 0, not inf"),
        ([[0.1]], r"not of shape \(1, 1\)"),
        ([], r"not of shape \(0,\)"),
        ("fast", "x must be one number, or one a channel, not 'fast'"),
        (None, "x must be one number, or one a channel, not None"),
    ],
)
def test_columns_refuse_what_is_out_of_range(value, message):
    with pytest.raises(InputError, match=message):
        column("x", value, low=0.0)


def test_column_does_not_share_memory_with_what_it_was_given():
    given = torch.tensor([0.5, 0.25], dtype=torch.float64)
    made = column("x", given)
    given[0] = 7
    assert made.tolist() == [0.5, 0.25]
    assert column("x", 0, low=0.0, above=False).shape == ()


@pytest.mark.parametrize("bad", [None, 0, 12_345, 4_000_000 - 1, 2_500_000])
def test_threads_give_the_bits_and_the_error_of_one(monkeypatch, bad):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    x = np.random.default_rng(0).normal(size=(4, 1_000_000)).astype(np.float32)
    if bad is not None:
        x.reshape(-1)[bad] = np.nan
    p = np.tile(np.float32([0, 1, 0.5, 0]), (4, 1))
    results = []
    for run in (threaded, lambda kernel, arrays, *options: kernel(*arrays, *options)):
        real, count = np.zeros((4, 1), np.float32), np.zeros((4, 3), np.int64)
        out = np.empty(x.shape, np.int8)
        where = run(encode, (x, p, real, count, out), 0, 0)
        results.append((where, real, count, out))
    assert results[0][0] == results[1][0] == (-1 if bad is None else bad)
    if bad is None:
        for ours, single in zip(results[0][1:], results[1][1:], strict=True):
            assert np.array_equal(ours, single)


def test_an_unknown_option_is_named_with_those_that_there_are():
    known = "threshold, initial, levels, profile, offset, scale, trainable"
    with pytest.raises(TypeError, match=f"StepForward has no option height: it takes {known}$"):
        StepForward(height=1)
    with pytest.raises(TypeError, match="Delta has no option density, height: it takes threshold"):
        Delta.fit(torch.arange(9.0), density=1, height=2)
    with pytest.raises(TypeError, match="Rate has no option height: it takes steps, offset"):
        Rate(8, height=1)
