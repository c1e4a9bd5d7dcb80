"""The firmware cross-compiled and on emulated boards; `make firmware-test` has what it needs."""

import dataclasses
import subprocess

import numpy as np
import pytest
from support import boards, firmware

from qlrjax.export.firmware import target as firmware_target

pytestmark = boards.NEEDED
PROTOCOL = dataclasses.replace(firmware.PROTOCOL, first_epochs=1, epochs=1)
RUNNING = dataclasses.replace(PROTOCOL, normalization="running")
SLOW = dataclasses.replace(PROTOCOL, first_learning_rate=1e-3, learning_rate=1e-3)
SMALL = dict(size=(48, 48), protocol=PROTOCOL)
SESSIONS = {
    "mps2-an386": [
        dict(SMALL, cut=25, bits=8),
        dict(SMALL, cut=25, bits=6, protocol=RUNNING, size=(57, 49)),
        dict(SMALL, cut=27, bits=6),
    ],
    "rv32-virt": [
        dict(SMALL, cut=25, bits=6),
        dict(SMALL, cut=27, bits=8, protocol=RUNNING, size=(57, 49)),
    ],
    "netduinoplus2": [
        dict(cut=27, bits=6, slots=100, classes=10, size=(96, 96), protocol=SLOW),
    ],
}
CASES = [(name, index) for name, rows in SESSIONS.items() for index in range(len(rows))]


def events(twin):
    return [twin.random.integers(0, twin.network.classes - 1, size) for size in (17, 11, 13, 7, 12)]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_five_events_on_a_board_are_those_of_jax(name, index, tmp_path):
    twin = firmware.Twin(**SESSIONS[name][index])
    boards.build(twin, name, tmp_path, event_max=20)
    with boards.running(name, tmp_path) as device:
        firmware.run_events(device, twin, events(twin))
        whole, floats = firmware.differences(device, twin.arrays())
        assert device.save() == 0
        images = twin.images(np.arange(12) % twin.network.classes)
        answers = [device.predict(image.tobytes())[0] for image in images]
    assert whole == 0
    momenta = [floats.pop("momentum"), floats.pop("head_momentum")]
    assert max(floats.values()) < 1e-4, floats
    assert max(momenta) < 2e-3, momenta
    seen = np.where(twin.firmware().past > 0, twin.logits(images), -np.inf)
    assert answers == seen.argmax(axis=1).tolist()
    with boards.running(name, tmp_path) as later:  # the board after a power cycle
        assert later.restore() == 0
        assert firmware.differences(later, twin.arrays())[0] == 0


@pytest.mark.parametrize("name", SESSIONS)
def test_the_linker_agrees_with_the_plan(name, tmp_path):
    """Every planned object has its planned size and lies in its planned memory."""
    settings = SESSIONS[name][0]
    plan = boards.build(firmware.Twin(**settings), name, tmp_path, event_max=20)
    compiler = firmware_target.load(name).compiler
    listed = subprocess.run(
        [compiler.replace("gcc", "nm"), "-S", tmp_path / "build/qlr.elf"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    found = {row[3]: (int(row[0], 16), int(row[1], 16)) for row in rows if len(row) == 4}
    for symbol in ("qlr_state", "qlr_replays", "qlr_event", "qlr_latent", "qlr_arena"):
        start, size = found[symbol]
        planned = sum(one.bytes for one in plan.buffers if one.symbol == symbol)
        memory = plan.places[symbol]
        assert abs(size - planned) <= 64, (symbol, size, planned)
        assert memory.start <= start < memory.start + memory.bytes, symbol
    weights = sum(
        size
        for key, (_, size) in found.items()
        if key.startswith("frozen") and key.endswith(("_weight", "_scale", "_padding"))
    )
    tables = sum(one.bytes for one in plan.buffers if one.symbol == "tables")
    first = sum(size for key, (_, size) in found.items() if key.startswith("qlr_first_head"))
    assert abs(weights + first - tables) <= 64


def test_the_stack_is_within_what_is_kept_for_it(tmp_path):
    """Of every call, on the smallest board; its C library's buffers are none."""
    pytest.importorskip("unicorn", reason="needs unicorn and capstone")
    pytest.importorskip("capstone", reason="needs unicorn and capstone")
    from support.cortex_m4 import CortexM4

    twin = firmware.Twin(**SESSIONS["netduinoplus2"][0])
    plan = boards.build(twin, "netduinoplus2", tmp_path, event_max=20)
    device = CortexM4(tmp_path / "build/qlr.elf", counts=False)
    image, report = device.place(twin.images(np.array([1]))[0]), device.place(bytes(64))
    device.paint_stack()
    device.call("qlr_init")
    for name, words in (
        ("qlr_observe", (image, 1)),
        ("qlr_learn_event", (report,)),
        ("qlr_observe", (image, 2)),
        ("qlr_learn_class", (report,)),
        ("qlr_predict", (image,)),
    ):
        device.call(name, *words)
    assert 100 < device.stack_used() < plan.target.reserve_ram_bytes / 2


def test_power_fails_200_times(tmp_path):
    """The state found again is the one before the event or the one after it, never another."""
    pytest.importorskip("unicorn", reason="needs unicorn and capstone")
    pytest.importorskip("capstone", reason="needs unicorn and capstone")
    from support import power

    twin = firmware.Twin(cut=27, bits=6, size=(33, 33), protocol=PROTOCOL, slots=12)
    boards.build(twin, "mps2-an386", tmp_path, event_max=8)
    state_bytes, event_bytes = (_size(tmp_path, name) for name in ("qlr_state", "qlr_event"))
    slot_bytes = _macro(tmp_path, "QLR_SLOT_BYTES")
    replay_bytes = _macro(tmp_path, "QLR_REPLAY_SLOTS") * _macro(tmp_path, "QLR_REPLAY_BYTES")
    device = power.FailingBoard(tmp_path / "build/qlr.elf", slot_bytes)
    report = device.place(bytes(64))
    random = np.random.default_rng(3)
    labels = [np.arange(8) % 4, np.arange(8) % 5, np.arange(8) % 3]
    photos = [[device.place(image) for image in twin.images(row)] for row in labels]

    def observe(event):
        for image, label in zip(photos[event], labels[event], strict=True):
            assert device.run("qlr_observe", image, int(label)) == 0

    def learn_and_save(end=None):
        assert device.run("qlr_learn_event", report, end=end) == 0
        learned = device.time
        assert device.run("qlr_save", device.callbacks, end=end) == 0
        return learned

    def state():
        return device.bytes_of("qlr_state", state_bytes) + device.bytes_of(
            "qlr_replays", replay_bytes
        )

    device.power_up(random)
    device.run("qlr_init")
    for event in (0, 1):  # both slots hold a state
        observe(event)
        learn_and_save()
    before, stored = state(), bytes(device.storage)
    observe(2)
    waiting = device.bytes_of("qlr_event", event_bytes)
    device.time = 0
    learned = learn_and_save()
    after, saved = state(), device.time
    assert before != after
    found = []
    for end in power.moments(random, learned, saved, 200):
        device.storage[:] = stored
        device.power_up(random)
        assert device.run("qlr_restore", device.callbacks) == 0
        device.machine.mem_write(device.symbols["qlr_event"], waiting)  # the photos come again
        device.time = 0
        with pytest.raises(power.PowerFailed):
            learn_and_save(int(end))
        device.power_up(random)
        assert device.run("qlr_restore", device.callbacks) == 0
        found.append(state())
    assert set(found) <= {before, after}
    # The checksum is written last: nearly every failure ends in the state before.
    assert found.count(before) > 190


def _size(folder, symbol):
    words = ["arm-none-eabi-nm", "-S", folder / "build/qlr.elf"]
    listed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return next(int(row[1], 16) for row in rows if row[-1] == symbol)


def _macro(folder, name):
    text = (folder / "src/qlr_config.h").read_text()
    line = next(line for line in text.splitlines() if line.split()[1:2] == [name])
    return int(line.split()[2].rstrip("u"))
