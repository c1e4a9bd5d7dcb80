"""A tiny learner with every kind of state a session has; its future depends on nothing else."""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from qlrjax.runs import checkpoint

SETTINGS = {"seed": 3, "replays": 7, "protocol": {"epochs": 2, "rate": 0.125}, "every": 1}
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


@flax.struct.dataclass
class Memory:
    data: jax.Array
    labels: jax.Array
    bits: int = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class State:
    params: dict
    optimizer: optax.OptState
    memory: Memory
    absent: jax.Array | None
    empty: jax.Array
    event: jax.Array
    accuracy: jax.Array


def start(rows: int = 7, bits: int = 6) -> State:
    params = {"w": jnp.ones((5, 3)), "b": jnp.zeros((3,))}
    return State(
        params=params,
        optimizer=OPTIMIZER.init(params),
        memory=Memory(jnp.zeros((rows, 11), jnp.uint8), jnp.full((rows,), -1, jnp.int32), bits),
        absent=None,
        empty=jnp.zeros((0, 4), jnp.uint8),
        event=jnp.zeros((), jnp.int32),
        accuracy=jnp.full((20, 3), jnp.nan),
    )


@functools.partial(jax.jit, donate_argnums=0)
def _learn(state: State) -> State:
    key = jax.random.fold_in(jax.random.key(SETTINGS["seed"]), state.event)
    x = jax.random.normal(key, (16, 5))
    y = x @ jnp.full((5, 3), 0.5)

    def loss(params):
        return jnp.mean((x @ params["w"] + params["b"][None, :] - y) ** 2)

    value, gradients = jax.value_and_grad(loss)(state.params)
    updates, optimizer = OPTIMIZER.update(gradients, state.optimizer, state.params)
    data = jax.random.bits(key, state.memory.data.shape, jnp.uint8)
    return state.replace(
        params=optax.apply_updates(state.params, updates),
        optimizer=optimizer,
        memory=state.memory.replace(data=state.memory.data ^ data),
        event=state.event + 1,
        accuracy=state.accuracy.at[state.event].set(value),
    )


def learn(state: State) -> tuple[State, dict]:
    """The state is consumed: its buffers are donated."""
    event = int(state.event)
    state = _learn(state)
    return state, {"event": event, "loss": float(state.accuracy[event, 0])}


def run(events: int) -> tuple[State, list[dict]]:
    state, records = start(), []
    for _ in range(events):
        state, record = learn(state)
        records.append(record)
    return state, records


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def save_run(folder, events=4):
    state, records = start(), []
    for step in range(1, events + 1):
        state, record = learn(state)
        records.append(record)
        checkpoint.save(folder, step, state, SETTINGS, records, {"names": ["é"]})
    return state, records
