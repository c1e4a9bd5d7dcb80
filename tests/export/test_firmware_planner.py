"""The planner's choices: what it places fits, what it refuses cannot, what it proposes does."""

import contextlib
import dataclasses
import re

import pytest
from support import firmware

from qlrjax.export.firmware import planner, target
from qlrjax.export.firmware import shape as firmware_shape
from qlrjax.export.firmware.target import Memory

pytestmark = pytest.mark.long

SMALL_BOARD = target.load("netduinoplus2")


@pytest.fixture(scope="module")
def shape():
    """MobileNet-V1 0.25 at 96x96, l = 25, mini-batches of 12, 50 replays."""
    twin = firmware.Twin(25, 6, slots=50, size=(96, 96))
    return firmware_shape.of_session(twin.firmware(), 40)


def board(flash, ram):
    memories = (Memory("flash", ("tables",), flash), Memory("ram", ("state",), ram))
    return dataclasses.replace(SMALL_BOARD, memories=memories)


def plan_or_none(shape, device):
    with contextlib.suppress(ValueError):
        return planner.plan(shape, device)


@pytest.mark.long
def test_less_memory_costs_more_work_and_never_too_many_bytes(shape):
    """From plenty of RAM down to less than would do."""
    devices = [board(8 << 20, (8 << 20) * 9**step // 10**step) for step in range(50)]
    plans = [plan_or_none(shape, device) for device in devices]
    found = [plan for plan in plans if plan]
    assert plans[: len(found)] == found  # once it does not fit, it never does again
    assert 10 < len(found) < len(plans)
    for plan in found:
        for memory in plan.target.memories:
            assert plan.used(memory) <= memory.bytes - plan.target.reserved(memory)
    costs = [plan.macs for plan in found]
    assert costs == sorted(costs)
    assert costs[0] == found[0].least_macs < costs[-1]


@pytest.mark.parametrize("ram", [150_000, 250_000, 400_000])
def test_what_a_refusal_proposes_fits(shape, ram):
    device = board(8 << 20, ram)
    wanted = dataclasses.replace(shape, event_max=5000, slots=4000)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"does not fit netduinoplus2 \(flash ") as caught:
            planner.plan(wanted, device)
        said = str(caught.value)
        images = re.search(r"--event-images (\d+)", said)
        slots = re.search(r"--replays (\d+)", said)
        if images is None:
            assert said.endswith("a narrower network or fewer pixels may fit")
            return
        fitting = dataclasses.replace(wanted, event_max=int(images.group(1)))
        if slots:
            fitting = dataclasses.replace(fitting, slots=int(slots.group(1)))
        planner.plan(fitting, device)
        wanted = dataclasses.replace(fitting, event_max=5000)


def test_the_largest_buffer_is_named(shape):
    with pytest.raises(
        ValueError, match=r"the largest buffer is the event buffer .*, 1,\d{3},\d{3} "
    ):
        planner.plan(dataclasses.replace(shape, event_max=500), board(8 << 20, 1 << 19))
