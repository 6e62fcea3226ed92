"""The table of what encoder cores take: read, merged, shown, and the same in the documents."""

from pathlib import Path

import pytest
from spikeloom.errors import InputError
from spikeloom.study.encoder_area import (
    AreaTable,
    CoreArea,
    EncoderArea,
    area_table,
    default_path,
    insert_table,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "encoders.md"


def area(lut4=10, lut_ram=0):
    return CoreArea("a device", lut4, lut_ram, 20, 1, 0, 123.4, 1, "0123")


def row(core="lif", variant="", **on):
    return EncoderArea(core, variant, {"channels": "8"}, 3, 1, on or {"ecp5": area()})


def test_a_table_survives_json():
    table = AreaTable({"yosys": "0.1"}, (row(), row("pwm", "fast", ecp5=area(), up5k=area(7, 4))))
    assert AreaTable.from_json(table.to_json()) == table


def test_rows_are_found_by_name():
    table = AreaTable({}, (row(), row("pwm", "fast")))
    assert table.row("pwm", "fast").core == "pwm"
    with pytest.raises(InputError, match=r"no area of pwm: there are lif, pwm \(fast\)"):
        table.row("pwm")


def test_new_rows_replace_old_ones_in_the_order_given():
    old = AreaTable({"t": "1"}, (row("a"), row("b"), row("gone")))
    new = old.replaced([row("b", ecp5=area(99)), row("c")], ["c", "b", "a"])
    assert [r.core for r in new.rows] == ["c", "b", "a"]
    assert new.row("b").on["ecp5"].lut4 == 99
    assert new.tools == {"t": "1"}


def test_markdown_has_a_line_for_each_row():
    rows = (row("a", ecp5=area(5, 8), up5k=area()), row("b", "x"))
    lines = AreaTable({"yosys": "0.1"}, rows).to_markdown().splitlines()
    assert lines[2] == "| a | 3 | 1 | 5 + 8 RAM | 20 | 1 | 0 | 123 | 10 | 20 | 1 | 0 | 123 |"
    assert lines[3] == "| b (x) | 3 | 1 | 10 | 20 | 1 | 0 | 123 | does not fit |  |  |  |  |"
    assert lines[-1] == "Tools: yosys 0.1."
    assert len({line.count("|") for line in lines[:4]}) == 1


def test_a_document_gets_the_table_between_its_marks():
    begin, end = "<!-- encoder area: begin -->", "<!-- encoder area: end -->"
    table = AreaTable({}, (row(),))
    once = insert_table(f"before\n{begin}\nold\n{end}\nafter\n", table)
    assert once.startswith(f"before\n{begin}\n| core |")
    assert once.endswith(f"{end}\nafter\n")
    assert "old" not in once
    assert insert_table(once, table) == once
    with pytest.raises(InputError, match="needs the lines"):
        insert_table("no marks", table)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', '{"schema": 1, "rows": [{}]}'])
def test_a_damaged_file_is_refused(text):
    with pytest.raises(InputError, match="area"):
        AreaTable.from_json(text)


def test_the_documents_show_the_table_that_comes_with_the_package():
    text = DOCUMENT.read_text()
    assert insert_table(text, area_table(default_path())) == text
