"""What must hold whatever the figures are: bounds, monotony, sums, equality between runs, units."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from pulpsim.cost import contention, platform
from pulpsim.cost.machine import machine
from pulpsim.cost.tiling import choose
from pulpsim.event import event, tables
from pulpsim.event.setting import EventSetting
from pulpsim.kernels import KERNELS
from pulpsim.kernels.record import largest_share

from qlrjax.network import mobilenet_v1

VEGA = platform.load("vega")
STM = platform.load("stm32l4")
SMALL = mobilenet_v1(0.5, 96)
# Without slack the search minimises cycles and nothing else, so bounds and order hold exactly.
STRICT = {"ratio": 1.5, "slack": 0.0}


def setting(latent_layer=24, **changes):
    changes = {"schedule": "layer-by-sample", **changes}
    return EventSetting(SMALL, latent_layer, statistics="running", **changes)


def seconds(**changes):
    fpus = changes.get("cluster.cores", 8)
    if changes.get("cluster.fpu_map") != "private":
        fpus = min(fpus, 4)
    chip = VEGA.replace(**{"cluster.fpus": fpus, **changes})
    return event.event_cost(setting(), chip, **STRICT).seconds


# MACs a core can do in a cycle: one FP32, or a packed product of four bytes.
PEAK = {"frozen": 4.0}


@pytest.mark.parametrize("chip", [VEGA, STM, platform.load("pulp-open")], ids=lambda c: c.name)
def test_no_pass_is_faster_than_its_units_or_its_memories(chip):
    result = event.event_cost(setting(), chip, **STRICT)
    for row in result.passes:
        work, cost = row.scheduled.work, row.cost
        fp_units = min(chip.cluster.fpus, chip.cluster.cores)
        units = chip.cluster.cores if row.scheduled.step == "frozen" else fp_units
        peak = PEAK.get(row.scheduled.step, 1.0) * units
        assert cost.cycles >= cost.work / peak, work
        assert cost.cycles >= cost.compute_cycles * (1 - 1e-12)
        assert cost.cycles >= cost.dma_cycles * (1 - 1e-12)
        assert cost.cycles >= cost.outside_cycles * (1 - 1e-12)
        if chip.dma is not None:
            assert cost.cycles >= cost.dma_bytes / (2 * chip.dma.bus_bytes)  # full duplex
        per_cycle = chip.external.bytes_per_s / chip.cluster.clock_hz
        assert cost.cycles >= cost.external_bytes / per_cycle * (1 - 1e-9)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("cluster.l1_bytes", (65536, 98304, 131072, 262144, 524288)),
        ("dma.bus_bytes", (2, 4, 8, 16, 32)),
        ("external.bytes_per_s", (50e6, 300e6, 1200e6)),
        ("storage.read_bytes_per_s", (20e6, 200e6, 2000e6)),
        ("l2.l2_bytes", (600_000, 1_572_864, 16_777_216)),
        ("cluster.clock_hz", (100e6, 375e6, 450e6)),
    ],
)
def test_more_memory_and_bandwidth_never_cost_time(key, values):
    found = [seconds(**{key: value}) for value in values]
    assert all(later <= earlier for earlier, later in itertools.pairwise(found)), found


def test_slack_costs_at_most_what_it_allows():
    strict = event.event_cost(setting(), VEGA, ratio=1.5, slack=0.0)
    loose = event.event_cost(setting(), VEGA, ratio=1.5, slack=0.01)
    assert strict.seconds <= loose.seconds <= 1.01 * strict.seconds


def test_doubling_the_cores_helps_and_private_fpus_never_hurt():
    found = [seconds(**{"cluster.cores": cores}) for cores in (1, 2, 4, 8)]
    assert all(later < earlier for earlier, later in itertools.pairwise(found)), found
    private = seconds(**{"cluster.fpus": 8, "cluster.fpu_map": "private"})
    assert private <= found[-1]


@pytest.mark.parametrize("name", sorted(name for name, kernel in KERNELS.items() if kernel.form))
def test_in_cores_only_the_rounding_of_chunks_counts(name):
    kernel = KERNELS[name]
    dims = {0: (), 1: (16,), 2: (18, 18), 3: (3, 12, 16)}[len(kernel.work.dims)]
    if kernel.work.cores == 1:
        pytest.skip("runs on one core")
    cycles = {n: kernel.tile_spent(48, dims, n).cycles for n in range(1, 10)}
    shares = {n: largest_share(48, n, kernel.work.granularity) for n in range(1, 10)}
    for one, two in itertools.combinations(range(1, 10), 2):
        if shares[one] == shares[two]:
            assert cycles[one] == cycles[two]
    # Seven rows take longer than eight where rows go by fours; whole halves never do.
    assert cycles[1] > cycles[2] > cycles[4] > cycles[8]


def test_an_event_is_the_sum_of_its_layers_and_of_its_steps():
    result = event.event_cost(setting(), VEGA, **STRICT)
    layers = {row.scheduled.layer for row in result.passes}
    steps = {row.scheduled.step for row in result.passes}
    for key, names in (("layer", layers), ("step", steps)):
        parts = [result.select(**{key: name}) for name in names]
        assert sum(part.seconds for part in parts) == pytest.approx(result.seconds, rel=1e-12)
        assert sum(part.joules for part in parts) == pytest.approx(result.joules, rel=1e-12)
        assert sum(part.macs for part in parts) == pytest.approx(result.macs, rel=1e-12)


def test_latent_layers_share_their_upper_layers():
    """Training from layer 23 on costs what layers 24 to 27 cost when 23 is trained, too."""
    lower, upper = event.event_costs([setting(23), setting(24)], VEGA, **STRICT)
    for step in ("forward", "weight gradient"):
        assert lower.select(step=step, layer=25).seconds == pytest.approx(
            upper.select(step=step, layer=25).seconds
        )


def test_energy_is_the_sum_of_its_parts():
    result = event.event_cost(setting(), VEGA, **STRICT)
    parts = dataclasses.asdict(result.energy)
    assert result.joules == pytest.approx(sum(parts.values()), rel=1e-12)
    assert all(value > 0 for value in parts.values())
    cost = result.cost
    assert parts["external_joules"] == pytest.approx(880e-12 * cost.external_bytes)
    assert parts["chip_joules"] == pytest.approx(0.062 * result.seconds)


GOLDEN_CODE = """
import json, sys
from pulpsim.cost import platform
from pulpsim.event import event
from pulpsim.event.setting import EventSetting
from qlrjax.network import mobilenet_v1
result = event.event_cost(EventSetting(mobilenet_v1(0.25, 64), 26), platform.load("vega"))
print(json.dumps([result.seconds.hex(), result.joules.hex(), [row.tile for row in result.passes]]))
"""


def test_two_processes_agree_to_the_bit():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    other = subprocess.run(
        [sys.executable, "-c", GOLDEN_CODE],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    result = event.event_cost(EventSetting(mobilenet_v1(0.25, 64), 26), VEGA)
    ours = [result.seconds.hex(), result.joules.hex(), [list(row.tile) for row in result.passes]]
    assert json.loads(other) == ours
    assert event.event_cost(result.setting, VEGA) == result


UNITS = ("_s", "_J", "_W", "_h", "_bytes", "_MB", "_ratio", "_per_cycle", "_share", "_per_hour")
PLAIN = {"s", "J", "us", "cycles", "bytes", "MMAC"}
COUNTS = {"layer", "latent_layer", "replays", "bits", "runs"}


def test_every_figure_has_a_unit():
    result = event.event_cost(setting(), VEGA, **STRICT)
    shown = [
        tables.steps(result),
        tables.layers(result),
        tables.passes(result),
        tables.memory(result),
        [tables.summary(result, 1.0)],
        tables.comparison([[result], [result]]),
    ]
    for rows in shown:
        for key, value in rows[0].items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert key in PLAIN | COUNTS or key.endswith(UNITS), key


def test_a_chip_without_conflicts_is_its_slowest_core():
    lone = VEGA.replace(**{"cluster.cores": 1, "cluster.fpus": 1, "cluster.fpu_map": "private"})
    cycles = contention.kernel_cycles(lone, "p1_2x4", 32, (64, 64))
    # The RTL's single core: 234964 cycles.
    assert cycles == pytest.approx(234_964, rel=1e-4)


def test_the_search_is_stable_under_the_order_of_candidates():
    chip = machine(VEGA)
    rows = [row.scheduled.work for row in event.event_cost(setting(), VEGA, **STRICT).passes]
    for work in dict.fromkeys(rows):
        tiles = np.stack(work.candidates(1.5))
        cost = work.cost(chip, *tiles)
        back = work.cost(chip, *tiles[:, ::-1])
        best, worst_first = choose(cost, chip, "x"), choose(back, chip, "x")
        assert cost.at(best).cycles == back.at(worst_first).cycles


# Pinned after the model was checked; a change of any of these is a change of published figures.
# Moved by -2.2 % at l = 27, up to -1.2 % at l = 23 (joules +3.4 % layer by sample), below 0.1 %
# elsewhere: the search tries small tiles too, since a pass waits for its first tile to arrive.
# The blocked rows are the schedule that is costed unless another is named.
# All moved: the law of the RTL's tile loops (-2 % at l = 27, within 1 % elsewhere), requantization
# in 64 bits (+10 % at l = 27), transactions of the off-chip RAM (+20 % layer by sample at l = 23,
# whose rows are short; below 1 % in blocks).
ONE = {"schedule": "layer-by-sample", "statistics": "running"}
GOLDEN = (
    ("vega", (1.0, 128), 27, ONE, 14.582149, 0.94007768, 5_734_736),
    (
        "vega",
        (0.25, 128),
        23,
        {**ONE, "statistics": "minibatch", "bits": 7, "replays": 500},
        25.270527,
        5.0381109,
        36_480_240,
    ),
    ("stm32l4", (1.0, 128), 24, ONE, 31229.781, 1220.1297, 36_498_368),
    ("vega", (1.0, 128), 24, {}, 415.66402, 38.908401, 63_802_304),
    (
        "vega",
        (0.25, 128),
        23,
        {"bits": 7, "replays": 500, "statistics": "running"},
        14.911438,
        1.9423521,
        16_411_376,
    ),
    ("stm32l4", (1.0, 128), 24, {}, 32971.108, 1181.0607, 63_802_304),
)


@pytest.mark.parametrize(
    "case", GOLDEN, ids=lambda case: f"{case[0]}-{case[2]}-{case[3].get('schedule', 'blocked')}"
)
def test_golden_events(case):
    name, size, layer, changes, expected_s, expected_j, expected_bytes = case
    network = mobilenet_v1(*size)
    case = EventSetting(network, layer, **changes)
    result = event.event_cost(case, platform.load(name))
    assert result.seconds == pytest.approx(expected_s, rel=1e-6)
    assert result.joules == pytest.approx(expected_j, rel=1e-6)
    assert result.memory.learning_bytes == expected_bytes
