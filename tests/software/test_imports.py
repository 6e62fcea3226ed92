"""Imports run one way (design 2), and plain data pulls no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ("spikeloom", "spikeloom_hdl", "spikeloom_boards", "spikeloom_sim")
FOLDER = {
    "spikeloom": ROOT / "software/spikeloom",
    "spikeloom_hdl": ROOT / "hdl/spikeloom_hdl",
    "spikeloom_boards": ROOT / "boards/spikeloom_boards",
    "spikeloom_sim": ROOT / "sim/spikeloom_sim",
}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module}
    return found


@pytest.mark.parametrize("package", HOUSE)
def test_no_package_imports_one_further_up(package):
    above = HOUSE[HOUSE.index(package) + 1 :]
    for path in FOLDER[package].rglob("*.py"):
        if path.parent == FOLDER["spikeloom"] and path.name.startswith("cli"):  # the roof
            continue
        wrong = [name for name in imported(path) if name.split(".")[0] in above]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_the_check_sees_a_wrong_import(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from spikeloom_sim.harness import run_core\n")
    assert imported(file) == {"spikeloom_sim.harness"}


@pytest.mark.parametrize(
    "module",
    [
        "spikeloom",
        "spikeloom.network",
        "spikeloom.fixed",
        "spikeloom.shipped",
        "spikeloom.cli",
        "spikeloom.hardware.memory_image",
        "spikeloom.hardware.registers",
        "spikeloom.device",
        "spikeloom_hdl.network",
        "spikeloom_hdl.accelerator",
    ],
)
def test_plain_data_and_gates_pull_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_load_on_first_use():
    import spikeloom

    for name in spikeloom.__all__:
        assert getattr(spikeloom, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'; it has"):
        _ = spikeloom.nonsense
