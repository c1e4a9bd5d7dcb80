"""The simulated cluster against the RTL table, term by term, and invariants of the simulation."""

import csv
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulpsim.cluster import arbitration, simulator
from pulpsim.cluster.requests import requests
from pulpsim.cluster.simulator import Job, KernelCounts, run_kernel, run_kernels
from pulpsim.kernels import KERNELS

TABLE = Path(__file__).parents[1] / "data" / "hw" / "cycles.csv"
EXACT = ("instr", "ld_stall", "taken_branches", "jumps", "macs")
LONGEST = 7000  # cycles; all rows: experiments/rtl_validation.py


def _rows() -> list[dict[str, str]]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def _chosen() -> list[dict[str, str]]:
    """Short rows: of every kernel, number of cores and FPU map the shortest one."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in sorted(_rows(), key=lambda row: int(row["cycles"])):
        plain = row["fpu"] in ("static", "dynamic", "private")
        several = row["cores"] in ("4", "8") and not row["shape"].endswith("@old")
        if plain and several and int(row["cycles"]) < LONGEST:
            found.setdefault((row["kernel"], row["cores"], row["fpu"]), row)
    return list(found.values())


def _job(row: dict[str, str]) -> Job:
    return Job(row["kernel"], row["shape"], int(row["cores"]), row["fpu"])  # pyright: ignore[reportArgumentType]


def _terms(one: KernelCounts) -> int:
    return (
        one.instr
        + one.ld_stall
        + one.fpu_stall
        + 2 * one.taken_branches
        + one.jumps
        + one.tcdm_conflicts
        + one.residual
    )


def test_one_core_is_the_rtl_up_to_a_cycle():
    rows = [row for row in _rows() if row["cores"] == "1" and int(row["cycles"]) < 3 * LONGEST]
    rows = [row for row in rows if row["fpu"] == "static"]
    found = run_kernels([_job(row) for row in rows])
    for row, one in zip(rows, found, strict=True):
        assert {key: getattr(one, key) for key in EXACT} == {key: int(row[key]) for key in EXACT}
        assert abs(one.cycles - int(row["cycles"])) <= 1, row  # one row is off by one


@pytest.mark.long
def test_several_cores_are_near_the_rtl(monkeypatch):
    monkeypatch.setattr(simulator, "PHASES", 3)  # for time; users get more
    rows = _chosen()
    assert {row["kernel"] for row in rows} >= {"p1_2x4", "d1_col", "l1_fwd", "e1_sgd", "i1_4x2"}
    found = run_kernels([_job(row) for row in rows])
    errors = []
    for row, one in zip(rows, found, strict=True):
        assert {key: getattr(one, key) for key in EXACT} == {key: int(row[key]) for key in EXACT}
        assert _terms(one) == one.cycles
        off = one.cycles - int(row["cycles"])
        errors.append(abs(off) / int(row["cycles"]))
        # Twice the noise between identical RTL runs, which differ in the arbiters' phase.
        assert abs(off) <= max(100, 0.08 * int(row["cycles"])), row
    assert np.mean(errors) < 0.02


@pytest.mark.parametrize("fpu", ["static", "dynamic", "private"])
def test_a_run_repeats_exactly_and_phases_matter_little(fpu):
    runs = [run_kernel("e5_stat", "C16_HW64", 8, fpu, phase=phase) for phase in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert abs(runs[0].cycles - runs[2].cycles) < 0.2 * runs[0].cycles
    assert {run.instr for run in runs} == {412}


def test_no_faster_than_the_core_alone_and_the_units_allow():
    job = Job("d1_col", "C16_10x10", 8, "static")
    one = run_kernels([job], 0)[0]
    lists = [requests(job.kernel, job.shape, core, 8) for core in range(8)]
    floating = sum(int((each.kinds == arbitration.FPU).sum()) for each in lists)
    assert one.cycles >= max(each.alone.cycles for each in lists)
    assert one.cycles >= floating / 4
    private = run_kernels([Job("d1_col", "C16_10x10", 8, "private")], 0)[0]
    assert private.fpu_stall == 0
    assert private.cycles < one.cycles


def test_latency_costs_dependent_chains_only():
    chain = [run_kernel("d1_col", "C4_5x5", 1, "static", latency).cycles for latency in (0, 1)]
    blocked = [run_kernel("p1_2x4", "4x8x8", 1, "static", latency).cycles for latency in (0, 1)]
    assert chain[1] > 1.2 * chain[0]
    assert blocked[1] <= 1.02 * blocked[0]


def test_nine_cores_are_slower_than_eight_on_shared_units():
    eight, nine = run_kernels([Job("p1_2x4", "36x32x16", 8), Job("p1_2x4", "36x32x16", 9)], 0)
    assert nine.instr < eight.instr
    assert nine.cycles > eight.cycles


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("p1_2x4", "8x8x8", 0), "cores must be 1 to 9, not 0"),
        (("p1_2x4", "8x8x8", 10), "cores must be 1 to 9, not 10"),
        (("p1_2x4", "8x8x8", 8, "shared"), "fpu must be static, dynamic or private"),
        (("p1_2x4", "8x8x8", 8, "static", -1), "fpu_latency must be 0 or more"),
        (("e8_smx", "n10", 2), "e8_smx runs on 1 core, not 2"),
        (("nothing", "8x8x8", 8), "there is no kernel 'nothing'"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        run_kernel(*arguments)


def _plain_arbiter(counter: int, asking: list[int]) -> int:
    """The tree as hardware: pairs of leaves up to the root, bit h of the counter at height h."""
    winners: list[int | None] = [leaf if leaf in asking else None for leaf in range(16)]
    height = 0
    while len(winners) > 1:
        upper = bool(counter >> height & 1)
        pairs = zip(winners[::2], winners[1::2], strict=True)
        winners = [
            (high if upper else low)
            if low is not None and high is not None
            else low
            if high is None
            else high
            for low, high in pairs
        ]
        height += 1
    assert winners[0] is not None
    return winners[0]


@settings(max_examples=40)
@given(st.integers(0, 8), st.sets(st.integers(0, 8), min_size=1))
def test_a_bank_grants_whom_the_tree_grants(counter, asking):
    counters = jnp.full(16, counter, jnp.int32)
    asks = jnp.asarray([core in asking for core in range(9)])
    wins, stepped = arbitration._banks(counters, jnp.full(9, 5, jnp.int32), asks)
    assert np.flatnonzero(np.asarray(wins)).tolist() == [_plain_arbiter(counter, sorted(asking))]
    assert int(stepped[5]) == (counter + 1) % 9
    assert int(stepped[4]) == counter


def test_reference_tiles_cover_every_kernel_that_several_cores_compute():
    for kernel in KERNELS.values():
        if kernel.form is not None and kernel.work.cores > 1:
            assert kernel.reference is not None, kernel.name
        if kernel.reference is not None:
            assert requests(kernel, kernel.reference, 0, 8).alone.instr > 0
