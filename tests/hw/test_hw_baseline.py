"""The baseline microcontroller by two programmers, and energy by published efficiency."""

import dataclasses

import numpy as np
import pytest
from pulpsim.cost import cortex, energy, platform
from pulpsim.cost.tiling import Cost
from pulpsim.event import baseline
from pulpsim.event.setting import EventSetting
from pulpsim.kernels import KERNELS, find

from qlrjax.network import mobilenet_v1

VEGA, SAME, COMPETENT = (platform.load(name) for name in ("vega", "stm32l4", "stm32l4-competent"))
SMALL = mobilenet_v1(0.25, 96)


def timing_of(chip):
    assert chip.cortex_m4f is not None
    return chip.cortex_m4f


def macs_per_cycle(name, shape, chip):
    kernel = find(name)
    items, dims = kernel.arguments_of(shape)
    work = kernel.work.amount(items, *dims)
    return work / cortex.tile_cycles(kernel, items, dims, timing_of(chip))


@pytest.mark.parametrize("name", ["p1_2x4", "p2a_2x4", "p3_2x4"])
def test_products_by_a_competent_programmer(name):
    assert 0.19 < macs_per_cycle(name, "64x512x64", SAME) < 0.22
    assert 0.335 < macs_per_cycle(name, "64x512x64", COMPETENT) < 0.37


def test_an_iteration_by_hand():
    """4x4 sums, two terms: 32 VMUL and 32 VADD, four VLDM of two words and two of four."""
    timing = timing_of(COMPETENT)
    mix = cortex.loop_of(find("p1_2x4").closed_form, timing)
    assert (mix.work, mix.fp, mix.fma) == (32, 64, 0)
    assert cortex.iteration_cycles(mix, timing) == 64 + 4 * 3 + 2 * 5 + 2 + 4
    # Sums, operands and two products on their way fit 32 registers.
    assert 16 + 4 * 2 + 4 + 4 <= 32
    loop = cortex.loop_of(find("e1_sgd").closed_form, timing)
    assert cortex.iteration_cycles(loop, timing) == 3 * 3 + 2 * 3 + 6 * 2 + 4 / 2


def test_nobody_is_slower_for_being_competent():
    for kernel in KERNELS.values():
        if kernel.form is None or kernel.reference is None:
            continue
        slow, fast = (
            macs_per_cycle(kernel.name, kernel.reference, one) for one in (SAME, COMPETENT)
        )
        assert fast >= slow, kernel.name


def test_the_two_baselines_differ_in_their_program_alone():
    assert timing_of(COMPETENT).program == "competent"
    same = dataclasses.replace(
        COMPETENT, cortex_m4f=SAME.cortex_m4f, name=SAME.name, description=SAME.description
    )
    assert same == SAME


def test_a_file_may_be_like_another(tmp_path):
    path = tmp_path / "fast.toml"
    path.write_text(
        'name = "fast"\ndescription = "x"\ncore = "ri5cy"\nlike = "vega"\n[cluster]\n'
        'clock_hz = { value = 450e6, status = "assumed", source = "its maximum" }\n'
    )
    chip = platform.load(path)
    assert chip.cluster == dataclasses.replace(VEGA.cluster, clock_hz=450e6)
    assert chip.dma == VEGA.dma
    path.write_text('name = "fast"\nlike = "gap0"\n')
    with pytest.raises(platform.PlatformError, match="like = 'gap0' is not another of"):
        platform.load(path)


def test_energy_by_published_efficiency():
    """A cycle of the best kernel costs what the published efficiency says, stalled or not."""
    macs, cycles = 3.88e6, 1.0e6
    cost = Cost(cycles, cycles, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, macs)

    def joules(cost, chip, integer):
        found = energy.efficient_joules(cost, chip, integer=integer)
        assert found is not None
        return found

    least, estimate = joules(cost, VEGA, False)
    assert least == pytest.approx(macs * 25.3e-12, rel=2e-3)  # pJ a MAC
    assert estimate == pytest.approx(least)
    slow = dataclasses.replace(cost, cycles=2 * cycles)
    assert joules(slow, VEGA, False) == pytest.approx((least, 2 * least))
    assert joules(cost, VEGA, True)[0] == pytest.approx(2 * macs / 615e9)
    assert energy.efficient_joules(cost, SAME, integer=False) is None


@pytest.fixture(scope="module")
def results():
    plain = {"schedule": "layer-by-sample", "statistics": "running"}
    settings = [EventSetting(SMALL, layer, **plain) for layer in (24, 26, 27)]
    return baseline.compare(settings, VEGA, SAME, COMPETENT)


def test_a_row_a_layer_and_means_with_and_without_the_last(results):
    rows = baseline.rows(results)
    assert [row["latent_layer"] for row in rows] == [
        24,
        26,
        27,
        "mean",
        "mean without 27",
        "mean of those that fit",
    ]
    for row, slow, fast in zip(rows, results.same, results.chip, strict=False):
        assert row["same_loops_time_ratio"] == pytest.approx(slow.seconds / fast.seconds)
        assert row["competent_time_ratio"] < row["same_loops_time_ratio"]
        assert 0 < row["chip_least_J"] < row["chip_by_efficiency_J"] < row["event_J"]
        # The small network's replays alone are more than the SRAM.
        assert row["baseline_ram_bytes"] > 131_072
        assert not row["baseline_fits_alone"]
    ratios = [row["competent_energy_ratio"] for row in rows[:3]]
    assert rows[3]["competent_energy_ratio"] == pytest.approx(np.mean(ratios))
    assert rows[4]["competent_energy_ratio"] == pytest.approx(np.mean(ratios[:2]))
    assert rows[3]["event_s"] is None


def test_energy_of_the_ram_swept(results):
    rows = baseline.ram_energy(results, (200, 880, 900))
    assert [row["external_pJ_per_byte"] for row in rows] == [200, 880, 900]
    ours, slow = ([one.joules for one in some] for some in (results.chip, results.same))
    assert rows[1]["event_J"] == pytest.approx(np.mean(ours))  # the platform's own figure
    more = rows[2]["event_J"] - rows[0]["event_J"]
    moved = np.mean([one.cost.external_bytes for one in results.chip])
    assert more == pytest.approx(moved * 700e-12)
    assert rows[1]["same_loops_energy_ratio"] == pytest.approx(np.mean(np.divide(slow, ours)))


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="at least one event"):
        baseline.compare([], VEGA, SAME, COMPETENT)
