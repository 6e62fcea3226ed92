"""Plans in files: what is written is read back, and anything else is refused in one line."""

import pytest
from spikeloom.errors import BuildError, InputError
from spikeloom.hardware.parameters import Folding
from spikeloom_boards.cost import Cost
from spikeloom_boards.plan import Goal, LayerPlan, Plan
from spikeloom_boards.plan_file import planned, read_plan, to_toml, write_plan
from spikeloom_boards.registry import board

PLAN = Plan(
    board="ulx3s-85f",
    clock_hz=75e6,
    build_id="0123456789abcdef",
    activity='measured on 64 "images" of C:\\data\n',
    interval=123.25,
    latency=456.0,
    worst_interval=1000.0,
    worst_latency=2000.0,
    goal=Goal("latency"),
    link=Cost(2200, 2000, 6),
    layers=(
        LayerPlan("conv1", "conv", 100.0, 900.0, 0.25, Folding(8, 2, 2, 4, units=3), Cost(5, 4, 3)),
        LayerPlan("pool", "pool", 123.25, 123.25, -1.0, Folding(4, 1, 4), Cost()),
    ),
)


def test_a_plan_comes_back(tmp_path):
    path = tmp_path / "net.toml"
    write_plan(PLAN, path)
    assert read_plan(path) == PLAN
    assert path.read_text().startswith("# How a network is laid onto a board")


def test_a_flag_is_there_only_where_it_is_set(tmp_path):
    """So that plans of before there was one are read, and written, as they were."""
    path = tmp_path / "net.toml"
    assert "paired" not in to_toml(PLAN)
    text = to_toml(PLAN).replace("units = 3", "units = 4\npaired = true")
    path.write_text(text)
    plan = read_plan(path)
    assert plan.foldings == (Folding(8, 2, 2, 4, units=4, paired=True), PLAN.foldings[1])
    assert to_toml(plan) == text


def test_a_folding_may_be_changed_by_hand(tmp_path):
    path = tmp_path / "net.toml"
    path.write_text(to_toml(PLAN).replace("units = 3", "units = 2"))
    assert read_plan(path).foldings[0] == Folding(8, 2, 2, 4, units=2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 9", "format 9, this Spikeloom reads plans of 1"),
        ("format = 1", "", "format None"),
        ("lanes = 8", "lanes = 8.5", "lanes of folding of layers .* must be an integer, not 8.5"),
        ("lanes = 8", "lanes = true", "lanes .* must be an integer, not True"),
        ("lanes = 8", "lanes = 7", "fire_lanes 4 must divide lanes 7"),
        ("lanes = 8", "lanse = 8", "unknown entries lanse"),
        ("lanes = 8\n", "", "has no lanes"),
        ("units = 3", "units = 3\npaired = true", "paired units must be an even number, not 3"),
        ("units = 3", "units = 3\npaired = 1", "paired of .* must be true or false, not 1"),
        ('multiplier = "lut"', 'multiplier = "abacus"', "multiplier must be one of"),
        ("clock_hz = 75000000.0", 'clock_hz = "fast"', "clock_hz of the plan must be a number"),
        ("clock_hz = 75000000.0", "clock_hz = nan", "clock_hz of the plan must be finite"),
        ('target = "latency"', 'target = "glory"', "target must be one of"),
        ("[goal]", "[goal", "is no TOML"),
        ("[goal]", "[gaol]", "unknown entries gaol"),
        ("[link]", "[[link]]", "link of the plan must be a table"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(tmp_path, old, new, message):
    path = tmp_path / "net.toml"
    text = to_toml(PLAN)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as error:
        read_plan(path)
    assert "\n" not in str(error.value)


def test_no_layers_and_no_file(tmp_path):
    path = tmp_path / "net.toml"
    head = to_toml(PLAN).split("[[layers]]")[0]
    path.write_text(head.replace("[goal]", "layers = []\n[goal]"))
    with pytest.raises(InputError, match="layers of the plan must be a list of tables"):
        read_plan(path)
    with pytest.raises(InputError, match=r"no plan at .*missing.toml: No such file"):
        read_plan(tmp_path / "missing.toml")


def test_a_plan_of_another_board_is_refused(tmp_path):
    path = tmp_path / "net.toml"
    write_plan(PLAN, path)
    with pytest.raises(BuildError, match="is a plan for ulx3s-85f, not for icebreaker"):
        planned(None, board("icebreaker"), path)  # type: ignore[arg-type]
