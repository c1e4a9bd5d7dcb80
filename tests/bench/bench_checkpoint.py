"""What checkpoints cost: `make bench`. The state is that of l = 19 with 1500 8-bit replays.

A save in the background costs a session at most what the blocking save takes (when both share one
core) and at least what handing the state over takes. Both are shares of an event of 300 images.
"""

import itertools
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qlrjax import weights
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.runs import checkpoint
from qlrjax.runs.saver import Saver
from qlrjax.training import adaptive, learner, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import named

LAYER, REPLAYS, BITS, CLASSES, NEW = 19, 1500, 8, 50, 300


@pytest.fixture(scope="module")
def session():
    network = mobilenet_v1(classes=CLASSES)
    cut = Cut(network, LAYER)
    memory = replay.init(REPLAYS, cut.latent_shape, BITS, 6.0)
    rng = np.random.default_rng(0)
    memory = memory.replace(
        data=jnp.asarray(rng.integers(0, 256, memory.data.shape, dtype=np.uint8)),
        labels=jnp.asarray(rng.integers(0, CLASSES, REPLAYS).astype(np.int32)),
        filled=jnp.asarray(REPLAYS, jnp.int32),
    )
    learns = Learner(cut, Protocol(), named(Protocol(), REPLAYS))
    state = learner.init(learns, *adaptive.init(cut, weights.random(network, 0)), memory)
    return learns, state


def learn_event(learns, state, event):
    rng = np.random.default_rng(event)
    latents = rng.integers(0, 256, (NEW, *learns.cut.latent_shape), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, NEW).astype(np.int32)
    data = EventData(jnp.asarray(latents), labels, event, seed=0, pad_to=NEW)
    state, losses = learner.learn_event(learns, state, data)
    jax.block_until_ready((state, losses))
    return state


def test_a_blocking_save(benchmark, session, tmp_path):
    _, state = session
    step = itertools.count()
    benchmark.pedantic(
        lambda: checkpoint.save(tmp_path, next(step), state, {}, [{}] * 391), rounds=8
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    benchmark.extra_info["bytes"] = sum(path.stat().st_size for path in files) // 2


def test_handing_a_state_to_the_background(benchmark, session, tmp_path):
    _, state = session
    step = itertools.count()
    with Saver(tmp_path, {}) as saver:
        benchmark.pedantic(lambda: saver.save(next(step), state, [{}]), setup=saver.flush, rounds=8)


def test_restoring(benchmark, session, tmp_path):
    _, state = session
    checkpoint.save(tmp_path, 0, state, {}, [])
    benchmark.pedantic(lambda: checkpoint.restore(tmp_path, state, {}), rounds=5)


def test_events_with_a_checkpoint_each(benchmark, session, tmp_path):
    """Events in turn with and without one, so that a busy machine disturbs both alike."""
    learns, state = session
    state = learn_event(learns, jax.tree.map(jnp.copy, state), 1)  # compiles
    seconds: dict[bool, list[float]] = {False: [], True: []}
    busy: dict[bool, list[float]] = {False: [], True: []}
    event = 2

    def both(saver):
        nonlocal state, event
        for saving in (False, True):
            started, cpu = time.perf_counter(), time.process_time()
            if saving:
                saver.save(event, state, [{}] * event)
            state = learn_event(learns, state, event)
            if saving:
                saver.flush()
            seconds[saving].append(time.perf_counter() - started)
            busy[saving].append(time.process_time() - cpu)
            event += 1

    with Saver(Path(tmp_path), {}) as saver:
        benchmark.pedantic(lambda: both(saver), rounds=int(os.environ.get("ROUNDS", "3")))
    without, with_ = float(np.median(seconds[False])), float(np.median(seconds[True]))
    started = time.perf_counter()
    checkpoint.save(tmp_path, event, state, {}, [{}] * event)
    blocking = time.perf_counter() - started
    facts = {
        "event without (s)": without,
        "event with (s)": with_,
        "difference (%)": 100 * (with_ - without) / without,
        "processor time, difference (%)": 100
        * (np.median(busy[True]) / np.median(busy[False]) - 1),
        "blocking save (s)": blocking,
        "blocking save (% of an event)": 100 * blocking / without,
    }
    benchmark.extra_info.update(facts)
    print("".join(f"\n{name}: {value:.3f}" for name, value in facts.items()))
