"""Recipes are objects: what they hold, what keyword arguments change, what is refused."""

from dataclasses import FrozenInstanceError

import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import convert_general
from spikeloom.conversion.recipes import Packed, changed
from torch import nn

BOTH = pytest.mark.parametrize("way", [sl.convert, convert_general])


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def model():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def rules(snn):
    return [(e.granularity, e.rule) for e in snn.report() if e.rule]


def test_without_a_recipe_it_is_classification():
    net, x = model(), torch.rand(60, 6)
    plain = sl.convert(net, x)
    assert torch.equal(plain(x), sl.convert(net, x, recipe=sl.Classification())(x))
    asked = sl.Classification()
    assert changed(None) == asked
    assert rules(plain) == [(asked.granularity, asked.rule)]


@BOTH
def test_detection_clips_nothing(way):
    net, x = model(), torch.rand(400, 6)
    snn = way(net, x, 4, recipe=sl.Detection(), granularity="tensor")
    assert rules(snn) == [("tensor", "max")]
    with torch.no_grad():
        peak = net[:2](x).max()
    theta = next(e.thresholds for e in snn.report() if e.rule)
    assert float(theta.max()) * 15 == pytest.approx(float(peak), rel=1e-5)


@BOTH
def test_keyword_arguments_change_one_option(way):
    net, x = model(), torch.rand(60, 6)
    snn = way(net, x, 4, recipe=sl.Detection(granularity="floor"), rule="percentile")
    assert rules(snn) == [("floor", "percentile")]
    kept = sl.Detection(bias_correction=False)
    assert changed(kept, granularity="tensor", rule=None) == sl.Detection(
        granularity="tensor", bias_correction=False
    )
    assert kept.granularity == "auto"


def test_recipes_cannot_be_changed_or_wrong():
    recipe = sl.Classification()
    with pytest.raises(FrozenInstanceError):
        recipe.rule = "max"  # type: ignore[misc]
    assert isinstance(sl.Detection(), Packed)
    for wrong in ({"rule": "best"}, {"granularity": "row"}, {"average": "no"}):
        with pytest.raises(ValueError, match="must be one of"):
            sl.Detection(**wrong)
    for charge in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="charge must be in 0..1"):
            sl.RateCoding(charge=charge)


@BOTH
@pytest.mark.parametrize("recipe", ["detection", sl.Detection, {"rule": "max"}])
def test_what_is_no_recipe_is_refused(way, recipe):
    with pytest.raises(ValueError, match=r"recipe must be Classification\(\), Detection\(\) or"):
        way(model(), torch.rand(9, 6), recipe=recipe)


def test_the_general_way_has_no_rate_coding():
    with pytest.raises(ValueError, match="use spikeloom.convert"):
        convert_general(model(), torch.rand(9, 6), recipe=sl.RateCoding())
