"""An event from the layer table to the battery: against the protocol, published tables, the CLI."""

import itertools

import numpy as np
import pytest
from pulpsim.cost import platform
from pulpsim.cost.energy import lifetime_hours
from pulpsim.event import event, memory, tables
from pulpsim.event.memory import plan
from pulpsim.event.setting import EventSetting
from pulpsim.event.sweep import Variant, sweep

from qlrjax.network import mobilenet_v1
from qlrjax.training import minibatch

NETWORK = mobilenet_v1()
VEGA = platform.load("vega")


def setting(latent_layer, **changes):
    changes = {"statistics": "running", "schedule": "layer-by-sample", **changes}
    return EventSetting(NETWORK, latent_layer, **changes)


@pytest.fixture(scope="module")
def events():
    """Latent layers 20 to 27 on both chips, one sample at a time."""
    settings = [setting(layer) for layer in range(20, 28)]
    return {name: event.event_costs(settings, platform.load(name)) for name in ("vega", "stm32l4")}


@pytest.mark.parametrize("replays", [0, 5, 500, 1500, 3000])
@pytest.mark.parametrize("images", [1, 90, 299, 300])
@pytest.mark.parametrize("drop", [True, False])
def test_minibatches_are_those_of_the_learner(replays, images, drop):
    ours = setting(23, replays=replays, images=images, drop_remainder=drop)
    theirs = minibatch.compose(images, replays, 128, drop)
    assert ours.samples_per_minibatch == theirs.size
    assert ours.new_per_minibatch == theirs.new
    assert ours.iterations == 4 * theirs.count


def test_the_protocol_of_the_paper():
    assert setting(20).new_per_minibatch == 21
    assert setting(20).iterations == 4 * 14
    assert setting(20).samples == 7168
    assert setting(20, drop_remainder=False).samples == 7680
    assert setting(20, replays=3000).new_per_minibatch == 12


# ar1-pytorch's network: elements of a latent, bytes of 1500 and 3000 replays of 8 and 7 bits.
LATENTS = {
    20: (32768, 49_152_000, 43_008_000),
    24: (8192, 12_288_000, 10_752_000),
    26: (16384, 24_576_000, 21_504_000),
    27: (1024, 1_536_000, 1_344_000),
}


@pytest.mark.parametrize(("layer", "expected"), LATENTS.items())
def test_replay_bytes(layer, expected):
    assert setting(layer).latent_elements == expected[0]
    for bits, size in ((8, expected[1]), (7, expected[2])):
        table = plan(setting(layer, bits=bits), VEGA)
        row = next(tensor for tensor in table.tensors if tensor.name == "replays")
        assert (row.size_bytes, row.place) == (size, "external")


# Trained weights, and elements of the inputs kept for the weight gradients of a sample.
TRAINED = {20: (2_166_784, 173_056), 23: (1_637_888, 74_752), 26: (1_099_776, 17_408)}


@pytest.mark.parametrize(("layer", "expected"), TRAINED.items())
def test_parameters_and_activations(layer, expected):
    case = setting(layer)
    rows = NETWORK.adaptive(layer)
    norms = 2 * sum(row.out_channels for row in rows[:-1])
    assert memory.trained_parameters(case) - norms == expected[0]
    before_pool = rows[-2].out_elements
    assert memory.activation_elements(case) - before_pool == expected[1]


def test_memory_table_adds_up_and_says_what_does_not_fit():
    small, large = plan(setting(27), VEGA), plan(setting(20, replays=3000), VEGA)
    assert small.fits
    assert not large.fits
    for table in (small, large):
        places = ("l2", "external", "storage")
        assert table.learning_bytes == sum(table.used_bytes(place) for place in places)
    assert small.place("trained weights") == "l2"
    assert large.place("trained weights") == "external"
    assert small.used_bytes("l2") + small.l2_left_bytes == 3 * 2**19 - 393_216


def test_every_mac_of_the_event_is_counted(events):
    # Forward, weight gradient and, above the first trained layer, input gradient of every sample.
    for layer, result in zip(range(20, 28), events["vega"], strict=True):
        rows = NETWORK.adaptive(layer)
        forward = sum(row.macs for row in rows)
        inputs = sum(row.macs for row in rows[1:])
        trained = result.adaptive.macs
        samples = result.setting.samples
        assert trained == pytest.approx(samples * (2 * forward + inputs), rel=1e-9)
        frozen = 300 * sum(row.macs for row in NETWORK.frozen(layer))
        assert result.select(step="frozen").macs == pytest.approx(frozen, rel=1e-9)


def test_stride_two_gradients_count_the_taps_of_the_forward_pass():
    result = event.event_cost(setting(22), VEGA).select(layer=23)
    work = {row.scheduled.step: row.cost.work for row in result.passes}
    assert work["forward"] == work["weight gradient"] == work["input gradient"]


# Means over latent layers 20 to 27, as this model gives them (the figures of
# `python experiments/hw_headline.py`, one sample at a time, on NumPy). They are its own figures,
# not the paper's 65x and 37x, which nothing is fitted to: a change of any rule of tiles, stalls,
# transfers or energy shows here, whatever it is for. They were 61.0892359, 33.2049556, 2.10828820:
# a tile's transfers are queued with one set-up, as in the RTL's tile loops (last layer -15 %),
# requantization takes 64 bits and the off-chip RAM transactions (time ratio -4 %). Small
# tiles are tried too (+0.4 %).
MODEL = {"time_ratio": 58.7361040, "chip_energy_ratio": 31.9259146, "last_layer_s": 1.79283756}


def test_the_models_own_headline_stands(events):
    vega, mcu = events["vega"], events["stm32l4"]
    pairs = list(zip(vega, mcu, strict=True))
    found = {
        "time_ratio": np.mean([slow.seconds / fast.seconds for fast, slow in pairs]),
        "chip_energy_ratio": np.mean(
            [slow.energy.chip_joules / fast.energy.chip_joules for fast, slow in pairs]
        ),
        "last_layer_s": vega[-1].adaptive.seconds,
    }
    assert found == pytest.approx(MODEL, rel=1e-6)


def test_the_headline_is_work_per_cycle_times_clock_and_power_times_time(events):
    """What the ratios must be made of, whatever their values."""
    for fast, slow in zip(events["vega"], events["stm32l4"], strict=True):
        assert fast.macs == pytest.approx(slow.macs, rel=1e-12)
        clock = fast.platform.cluster.clock_hz / slow.platform.cluster.clock_hz
        work = fast.macs_per_cycle / slow.macs_per_cycle
        assert slow.seconds / fast.seconds == pytest.approx(work * clock, rel=1e-12)
        power = slow.platform.power.active_watts / fast.platform.power.active_watts
        chips = slow.energy.chip_joules / fast.energy.chip_joules
        assert chips == pytest.approx(power * slow.seconds / fast.seconds, rel=1e-12)
    # Each trained layer more costs time and energy, and takes at least the memory of its weights.
    for results in events.values():
        for lower, upper in itertools.pairwise(results):
            assert lower.seconds > upper.seconds
            assert lower.joules > upper.joules
    assert [result.memory.fits for result in events["vega"]] == [False] * 4 + [True] * 4


def test_minibatch_statistics_need_all_samples_at_once():
    one, whole = setting(24), setting(24, statistics="minibatch")
    assert whole.group == 128
    assert whole.groups_per_minibatch == 1
    kept = memory.activation_bytes(whole) * 128
    assert plan(whole, VEGA).learning_bytes > kept > 64 * memory.activation_bytes(one)


def test_a_summary_for_a_finished_session():
    case = EventSetting(mobilenet_v1(0.25, 64), 24)
    summary, direct = event.event_cost_summary(case), event.event_cost(case, VEGA)
    assert summary.seconds == direct.seconds
    assert summary.joules == direct.joules
    assert summary.memory_bytes == direct.memory.learning_bytes
    assert "power.active_watts" in summary.unproven
    assert "cluster.fpu_map" not in summary.unproven


@pytest.mark.parametrize("layer", [pytest.param(0, marks=pytest.mark.long), 3, 19])
def test_every_cut_can_be_costed(layer):
    result = event.event_cost(EventSetting(mobilenet_v1(0.25, 96), layer), VEGA, ratio=2.0)
    assert result.seconds > 0
    assert np.isfinite(result.joules)


def test_odd_and_non_square_images():
    network = mobilenet_v1(0.5, (100, 76), 7, "pytorch", "relu")
    case = EventSetting(network, 12, 200, 6, 40, schedule="layer-by-sample", statistics="running")
    result = event.event_cost(case, VEGA, ratio=2.0)
    kernels = " ".join(row["kernels"] for row in tables.passes(result))
    assert "e3_fwd" in kernels
    assert "e9_unp6" in kernels
    assert "e9_rnd6" in kernels


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("bits", 9, "9 bits"),
        ("images", 0, "images"),
        ("replays", -1, "replays"),
        ("latent_layer", 28, "latent layer 28"),
        ("epochs", 0, "epochs"),
    ],
)
def test_impossible_events_are_refused(name, value, said):
    arguments = {"latent_layer": 20, name: value}
    with pytest.raises(ValueError, match=said):
        EventSetting(NETWORK, **arguments)


def test_battery_hours():
    chip = VEGA.replace(
        **{"battery.charge_mah": 1000.0, "battery.volts": 2.0, "power.sleep_watts": 0.001}
    )
    assert chip.battery.joules == 7200.0
    # An hour: 2 J of work for 36 s, and 3564 s asleep.
    assert lifetime_hours(36.0, 2.0, 1, chip) == pytest.approx(7200 / (2 + 3.564))
    with pytest.raises(ValueError, match="at most 100 events an hour"):
        lifetime_hours(36.0, 2.0, 101, chip)
    with pytest.raises(ValueError, match="not a rate"):
        lifetime_hours(36.0, 2.0, 0, chip)


def test_a_sweep_equals_single_events_and_says_what_does_not_fit():
    chips = ((1, 64, 8, "private"), (4, 128, 4, "static"), (8, 14, 8, "static"))
    variants = [Variant(cores, kib * 1024, bus, fpu) for cores, kib, bus, fpu in chips]
    case = EventSetting(mobilenet_v1(1.0, 32), 27)
    found = sweep([case], VEGA, variants, ratio=1.2, processes=1)
    for j, variant in enumerate(variants[:2]):
        direct = event.event_cost(case, variant.apply(VEGA))
        assert found.seconds[0, j] == direct.seconds
        assert found.joules[0, j] == direct.joules
        assert found.macs_per_cycle[0, j] == direct.macs_per_cycle
    assert found.seconds[0, 2] == np.inf


def test_a_sweep_needs_a_cluster():
    with pytest.raises(platform.PlatformError, match="no cluster to sweep"):
        sweep([setting(27)], platform.load("stm32l4"), [Variant(1, 65536, 8, "private")])
