"""A learner that two trained layers of a quarter's width make quick, and events for it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from qlrjax import weights
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.training import adaptive, learner, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import named

CLASSES = 4
BASE = Protocol(minibatch=6, first_epochs=2, epochs=2, first_learning_rate=0.01, learning_rate=0.01)


@functools.cache
def cut_and_parameters():
    network = mobilenet_v1(0.25, (40, 32), CLASSES)
    return Cut(network, 25), weights.random(network, 2)


def learns(protocol, slots=8):
    return Learner(cut_and_parameters()[0], protocol, named(protocol, slots))


def fresh(protocol, slots=8, bits=8):
    cut, parameters = cut_and_parameters()
    memory = replay.init(slots, cut.latent_shape, bits, 3.0)
    return learner.init(learns(protocol, slots), *adaptive.init(cut, parameters), memory)


def event_of(random, count):
    """Codes and labels; drawn so that no two latents are alike, nor zero like padding."""
    labels = random.integers(0, CLASSES, count).astype(np.int32)
    shape = (count, *cut_and_parameters()[0].latent_shape)
    return random.integers(0, 256, shape).astype(np.uint8), labels


def learn(protocol, slots=8, bits=8, events=2, pad_to=None, seed=0):
    state = fresh(protocol, slots, bits)
    random = np.random.default_rng(0)
    for event in range(events):
        codes, labels = event_of(random, 12 - event)
        data = EventData(jnp.asarray(codes), labels, event, seed, pad_to)
        state, losses = learner.learn_event(learns(protocol, slots), state, data)
    return state, losses


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)
