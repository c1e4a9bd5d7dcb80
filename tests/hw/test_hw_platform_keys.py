"""No key of a platform file is unread: every value moves a figure, or only one is allowed."""

import dataclasses

import pytest
from pulpsim.cost import contention, energy, platform
from pulpsim.cost.platform import Platform, PlatformError
from pulpsim.cost.tiling import ZERO
from pulpsim.event import event, tables
from pulpsim.event.setting import EventSetting

from qlrjax.network import mobilenet_v1

SMALL = mobilenet_v1(0.25, 32, 10)
# What an instruction-level simulation reads, which takes too long for a whole event.
SIMULATED = ("cluster.tcdm_banks", "cluster.fpu_latency_cycles")
# Read where another key says so: a program longer than the instruction cache.
WHERE = {"caches.flash_factor": {"caches.code_bytes": 64}}
SCHEDULES = ("layer-by-sample", "blocked")
OTHERS = {
    "static": ("dynamic", "private"),
    "private": ("static",),
    "full": ("half",),
    "competent": ("same loops",),
    "same loops": ("competent",),
}


def keys(chip: Platform):
    """Every "section.key" that this chip's file must or may give."""
    return sorted(chip.provenance)


def other_values(value):
    if isinstance(value, str):
        return OTHERS[value]
    if value == 0:
        return (type(value)(1),)
    whole = isinstance(value, int)
    found = (value // 2 if whole else value / 2, value * 8, value // 64 if whole else value * 64)
    return tuple(one for one in found if one)


def figures(chip: Platform, schedule):
    """Seconds, joules, memory and battery of a small event of two trained layers."""
    statistics = "minibatch" if schedule == "blocked" else "running"
    setting = EventSetting(
        SMALL, 26, 40, 7, 21, 1, statistics=statistics, schedule=schedule, samples_per_pass=4
    )
    result = event.event_cost(setting, chip)
    return (
        result.seconds,
        result.joules,
        result.lifetime_hours(1e-3),
        tables.memory(result),
        energy.efficient_joules(
            dataclasses.replace(ZERO, cycles=9.0, work=9.0), chip, integer=True
        ),
        energy.efficient_joules(
            dataclasses.replace(ZERO, cycles=9.0, work=9.0), chip, integer=False
        ),
    )


def observe(chip: Platform, path, schedule):
    if path in SIMULATED:
        return contention.stall_rate(chip.cluster, "e1_sgd")
    return figures(chip, schedule)


@pytest.mark.long
@pytest.mark.parametrize("name", ["vega", "stm32l4", "stm32h7"])
def test_every_key_moves_a_figure(name):
    chip = platform.load(name)
    plain = {schedule: figures(chip, schedule) for schedule in SCHEDULES}
    unread = [path for path in keys(chip) if not moves(chip, path, plain)]
    assert not unread


def moves(chip: Platform, path, plain):
    """Whether another value of a key changes a figure or is refused by a rule of its own."""
    section, _, key = path.partition(".")
    value = getattr(getattr(chip, section), key)
    chip = chip.replace(**WHERE.get(path, {}))
    for schedule in SCHEDULES:
        known = path not in SIMULATED and path not in WHERE
        before = plain[schedule] if known else observe(chip, path, schedule)
        for other in other_values(value):
            try:
                changed = chip.replace(**{path: other})
                if observe(changed, path, schedule) != before:
                    return True
            except PlatformError as error:
                if path in str(error):
                    return True
    return False


def test_a_key_that_nothing_reads_is_found(monkeypatch):
    """The test above is able to fail."""
    chip = platform.load("stm32h7")
    monkeypatch.setattr(energy, "_parts", lambda cost, platform: (cost.cycles, 0.0, 0.0, 0.0))
    monkeypatch.setattr(f"{__name__}.SCHEDULES", SCHEDULES[:1])
    plain = {SCHEDULES[0]: figures(chip, SCHEDULES[0])}
    assert not moves(chip, "external.joules_per_byte", plain)


def test_the_three_cover_the_keys_of_all():
    def of(chip: Platform):
        return {path for path in keys(chip) if not path.startswith("efficiency.")}

    covered = {chip.core: of(chip) for chip in map(platform.load, ("vega", "stm32l4", "stm32h7"))}
    for name in platform.names():
        chip = platform.load(name)
        assert of(chip) == covered[chip.core], name


@pytest.mark.parametrize("key", ["fpus", "fpu_map", "fpu_latency_cycles", "tcdm_banks"])
def test_keys_that_mean_nothing_to_a_chip_are_refused(key, tmp_path):
    for name in ("stm32l4", "stm32h7"):
        text = (platform.folder() / f"{name}.toml").read_text(encoding="utf-8")
        line = f"[cluster]\n{key} = {{ value = 1, status = 'read', source = 'x' }}"
        path = tmp_path / f"{name}-{key}.toml"
        path.write_text(text.replace("[cluster]", line), encoding="utf-8")
        with pytest.raises(PlatformError, match=f"cluster.{key} means nothing to a cortex"):
            platform.load(path)


def test_pages_belong_to_a_time_per_transaction(tmp_path):
    text = (platform.folder() / "vega.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    for old, new in (("value = 120e-9", "value = 0.0"), ("page_bytes", "# page_bytes")):
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(PlatformError, match=r"external\.page_bytes belongs to"):
            platform.load(path)


def test_fewer_banks_are_met_more_often():
    vega = platform.load("vega")
    rates = [
        contention.stall_rate(vega.replace(**{"cluster.tcdm_banks": banks}).cluster, "e1_sgd")
        for banks in (16, 8)
    ]
    assert rates[1] > rates[0] > 0
    with pytest.raises(PlatformError, match=r"cluster\.tcdm_banks is more than 16"):
        vega.replace(**{"cluster.tcdm_banks": 32})
