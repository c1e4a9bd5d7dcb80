"""Platform files: what is shipped loads, what is wrong is refused by name."""

import copy
import re
import tomllib

import pytest
from pulpsim.cost import platform
from pulpsim.cost.platform import PlatformError


@pytest.fixture
def vega_table():
    return tomllib.loads((platform.folder() / "vega.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", platform.names())
def test_shipped_platforms_load_and_say_where_values_come_from(name):
    chip = platform.load(name)
    assert chip.name == name
    text = (platform.folder() / f"{name}.toml").read_text(encoding="utf-8")
    like = re.search(r'^like = "(.+)"', text, re.M)
    if like is None:  # else it has the other file's values too
        assert len(chip.provenance) == text.count("status =")
    else:
        assert chip.provenance.keys() == platform.load(like[1]).provenance.keys()
    assert all(entry.source for entry in chip.provenance.values())


def test_the_three_platforms_of_the_issue_are_shipped():
    assert {"vega", "stm32l4", "pulp-open"} <= set(platform.names())


def test_vega_is_the_chip_of_its_public_configuration():
    vega = platform.load("vega")
    assert vega.cluster.l1_bytes == 128 * 1024
    assert vega.cluster.tcdm_banks == 16
    assert vega.cluster.fpus == 4
    assert vega.external.external_bytes == 64 * 2**20
    assert vega.l2 is not None
    assert vega.l2.l2_bytes == 3 * 2**19
    assert vega.provenance["external.bytes_per_s"].status == "recalled"
    assert vega.is_unproven("external.bytes_per_s")
    assert not vega.is_unproven("cluster.l1_bytes", "dma.bus_bytes")


def test_a_users_file_is_loaded_by_path(tmp_path, vega_table):
    text = (platform.folder() / "vega.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('name = "vega"', 'name = "mine"'), encoding="utf-8")
    assert platform.load(path).name == "mine"
    assert platform.load(str(path)).cluster == platform.load("vega").cluster


def broken(table, change):
    table = copy.deepcopy(table)
    change(table)
    with pytest.raises(PlatformError) as caught:
        platform.parse(table, "file.toml")
    message = str(caught.value)
    assert message.startswith("file.toml: ")
    return message


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("cluster", "l1_bytes", 0, "cluster.l1_bytes"),
        ("cluster", "l1_bytes", -1, "cluster.l1_bytes"),
        ("cluster", "l1_bytes", 1.5, "cluster.l1_bytes"),
        ("cluster", "l1_bytes", True, "cluster.l1_bytes"),
        ("cluster", "cores", "eight", "cluster.cores"),
        ("cluster", "cores", 17, "cluster.cores"),
        ("cluster", "fpu_map", "shared", "cluster.fpu_map"),
        ("cluster", "fpu_map", "private", "cluster.fpu_map"),
        ("cluster", "tcdm_banks", 12, "cluster.tcdm_banks"),
        ("cluster", "clock_hz", float("inf"), "cluster.clock_hz"),
        ("cluster", "clock_hz", float("nan"), "cluster.clock_hz"),
        ("cluster", "l1_reserved_bytes", 131_072, "cluster.l1_reserved_bytes"),
        ("dma", "bus_bytes", 6, "dma.bus_bytes"),
        ("l2", "reserved_bytes", 10**9, "l2.reserved_bytes"),
        ("external", "bytes_per_s", 0, "external.bytes_per_s"),
        ("power", "active_watts", -0.1, "power.active_watts"),
    ],
)
def test_impossible_values_are_named(vega_table, section, key, value, said):
    assert said in broken(vega_table, lambda table: table[section][key].update(value=value))


def test_unknown_and_missing_keys_are_named(vega_table):
    entry = {"value": 1, "status": "read", "source": "x"}
    assert "cluster.l1_kb" in broken(vega_table, lambda t: t["cluster"].update(l1_kb=entry))
    assert "cluster.cores" in broken(vega_table, lambda t: t["cluster"].pop("cores"))
    assert "'cache'" in broken(vega_table, lambda t: t.update(cache={}))
    assert "[dma]" in broken(vega_table, lambda t: t.pop("dma"))
    assert "name" in broken(vega_table, lambda t: t.pop("name"))
    assert "external.kind" in broken(vega_table, lambda t: t["external"].pop("kind"))
    assert "core" in broken(vega_table, lambda t: t.update(core="z80"))


def test_a_value_needs_status_and_source(vega_table):
    clock = ("cluster", "clock_hz")
    assert "status" in broken(vega_table, lambda t: t[clock[0]][clock[1]].update(status="guess"))
    assert "source" in broken(vega_table, lambda t: t[clock[0]][clock[1]].update(source=" "))
    assert "cluster.clock_hz" in broken(vega_table, lambda t: t["cluster"].update(clock_hz=1e8))


def test_sections_of_the_other_core_are_refused(vega_table):
    timing = tomllib.loads((platform.folder() / "stm32l4.toml").read_text(encoding="utf-8"))
    section = timing["cortex_m4f"]
    assert "cortex_m4f" in broken(vega_table, lambda t: t.update(cortex_m4f=section))


def test_unknown_names_and_unreadable_files_say_what_to_do(tmp_path):
    with pytest.raises(PlatformError, match="vega"):
        platform.load("gap8")
    with pytest.raises(PlatformError, match="cannot be read"):
        platform.load(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("name = ", encoding="utf-8")
    with pytest.raises(PlatformError, match="not valid TOML"):
        platform.load(bad)


def test_replace_changes_checks_and_marks():
    vega = platform.load("vega")
    changed = vega.replace(**{"cluster.cores": 4, "dma.bus_bytes": 16})
    assert changed.cluster.cores == 4
    assert changed.dma is not None
    assert changed.dma.bus_bytes == 16
    assert changed.provenance["cluster.cores"].status == "assumed"
    assert vega.cluster.cores == 8
    with pytest.raises(PlatformError, match=r"cluster\.core"):
        vega.replace(**{"cluster.core": 4})
    with pytest.raises(PlatformError, match=r"dma\.bus_bytes"):
        vega.replace(**{"dma.bus_bytes": 3})
    with pytest.raises(PlatformError, match=r"cortex_m4f"):
        vega.replace(**{"cortex_m4f.fma_cycles": 1})
