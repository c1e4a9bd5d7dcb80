"""Costs of tiles: closed forms against RTL rows and issued programs, stalls against simulation."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pulpsim.cluster.requests import requests
from pulpsim.cost import contention, platform
from pulpsim.kernels import KERNELS, find

ROWS = Path(__file__).parents[1] / "data" / "hw" / "cycles.csv"
VEGA = platform.load("vega")


TABLED = ("p1_2x4", "e4_bn", "i2_dw")
USED = (
    ("p1_2x4", "16x96x12"),
    ("p3_2x4", "16x96x12"),
    ("p2a_2x4", "16x64x24"),
    ("d1_col", "C32_10x10"),
    ("d2a_wgrad", "C32_10x10"),
    ("i1_4x2", "48x64x32"),
)
CODE = """
import dataclasses, json, sys
from pulpsim.cluster import simulator
from pulpsim.kernels import find
jobs = [simulator.Job(name, shape or find(name).reference, 8, "static")
        for name, shape in json.loads(sys.argv[1])]
print(json.dumps([dataclasses.asdict(row) for row in simulator.run_kernels(jobs)]))
"""


@pytest.fixture(scope="module")
def simulated():
    """Rows of both tests, simulated in a process with JAX's usual promotion."""
    jobs = [(name, None) for name in TABLED] + list(USED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(jobs)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    return json.loads(found)


def rtl_rows():
    with ROWS.open(newline="", encoding="utf-8") as file:
        return [
            row
            for row in csv.DictReader(file)
            if find(row["kernel"]).form is not None
            and "@" not in row["shape"]
            and "lat1" not in row["fpu"]
        ]


def test_closed_forms_equal_every_rtl_row():
    checked = 0
    for row in rtl_rows():
        name, cores = row["kernel"], int(row["cores"])
        kernel = find(name)
        items, dims = kernel.arguments_of(row["shape"])
        spent = kernel.tile_spent(items, dims, cores)
        assert spent.instr == int(row["instr"]), row
        stalls = int(row["fpu_stall"]) + int(row["tcdm_conflicts"])
        alone = int(row["cycles"]) - stalls
        # Two cycles at most are no counter's: see the accounting identity of the RTL table.
        assert abs(spent.cycles - alone) <= 2, row
        assert kernel.work.amount(items, *dims) == int(row["macs"]), row
        checked += 1
    assert checked > 400


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("p1_2x4", "13x28x12"),
        ("p3_2x4", "7x9x20"),
        ("p2a_2x4", "1x5x4"),
        ("d1_col", "C5_7x9"),
        ("d2a_wgrad", "C3_8x11"),
        ("l1_fwd", "11x30"),
        ("l3a_wgrad", "3x18"),
        ("e1_sgd", "n66"),
        ("e6b_bnbwd", "C9_HW20"),
        ("i1_4x2", "12x16x5"),
    ],
)
def test_closed_forms_equal_the_issued_programs(name, shape):
    items, dims = find(name).arguments_of(shape)
    for cores in (1, 2):
        alone = requests(name, shape, 0, cores).alone
        spent = find(name).tile_spent(items, dims, cores)
        assert spent.instr == alone.instr
        assert spent.cycles == alone.cycles


@pytest.mark.slow
def test_the_shipped_stalls_are_those_of_the_simulator(simulated):
    table = json.loads(contention.TABLE.read_text(encoding="utf-8"))
    for name, row in zip(TABLED, simulated, strict=False):
        rate = (row["fpu_stall"] + row["tcdm_conflicts"]) / row["instr"]
        assert table["rates"]["8 static"][name] == pytest.approx(rate, abs=1e-5)
    references = {one.name: one.reference for one in KERNELS.values() if one.reference}
    assert table["tiles"] == references


@pytest.mark.slow
def test_tiles_that_the_network_uses_cost_what_the_simulator_says(simulated):
    for (name, shape), row in zip(USED, simulated[len(TABLED) :], strict=True):
        ours = contention.kernel_cycles(VEGA, name, *find(name).arguments_of(shape))
        assert ours == pytest.approx(row["cycles"], rel=0.06), (name, shape)


def test_unmeasured_designs_are_marked():
    unmeasured = {kernel.name for kernel in KERNELS.values() if kernel.form and not kernel.measured}
    wide = {"i1w_4x2", "i2w_dw", "i2sw_dw", "i3w_conv", "i4w_pool"}
    narrow = {f"e9_unp{bits}" for bits in range(1, 6)} | {f"e9_rnd{bits}" for bits in range(1, 7)}
    graphs = {"d5_fwd", "d5_igrad", "d5a_wgrad", "d5s_fwd", "d5s_igrad", "d5sa_wgrad", "e11_add"}
    graphs |= {"i5sw_dw", "i5w_dw", "i6_im2row", "i7w_add", "i8_max"}
    # Designs with programs of their own.
    others = {"i2s_dw", "i4_pool", "c0_im2col", "h1_up", "h1_down"}
    assert unmeasured == others | wide | narrow | graphs


@pytest.mark.slow
def test_a_deeper_fpu_is_waited_for():
    """Results come a cycle later: a chain of sums waits for each, a blocked product does not."""
    deep = VEGA.replace(**{"cluster.fpu_latency_cycles": 1, "cluster.cores": 1, "cluster.fpus": 1})
    for name, least, most in (("d1_col", 0.3, 0.8), ("p1_2x4", 0.0, 0.02)):
        assert least <= contention.stall_rate(deep.cluster, name) <= most


def test_rates_of_lone_cores_and_odd_numbers_of_fpus():
    lone = VEGA.replace(**{"cluster.cores": 1, "cluster.fpus": 1})
    assert set(contention.stall_rates(lone.cluster).values()) == {0.0}
    odd = VEGA.replace(**{"cluster.fpus": 3})
    with pytest.raises(platform.PlatformError, match=r"cluster\.fpus = 3"):
        contention.stall_rates(odd.cluster)
    with pytest.raises(ValueError, match="there is no kernel 'p9'"):
        contention.kernel_cycles(VEGA, "p9", 8, ())
