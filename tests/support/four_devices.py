"""What one device and four forced ones compute; `tests/session/test_devices.py` runs this apart.

python -m support.four_devices FOLDER

JAX counts its devices when it starts, so that this needs a process of its own, with
XLA_FLAGS=--xla_force_host_platform_device_count=4. Prints one JSON object.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

import qlrjax
from qlrjax import devices, weights
from qlrjax.integer import extractor, quantize
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.runs import run
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.training import evaluate, learner
from qlrjax.training.protocol import Protocol

BASE = Settings(
    latent_layer=23,
    replays=10,
    weights="random:1:0.25",
    resolution=32,
    calibration_images=12,
    stream=StreamSettings(data="synthetic:4x4x6", first_classes=2),
    protocol=Protocol(minibatch=8),
)


def difference(one, other) -> float:
    """Largest difference of two trees, by the largest value of each leaf."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    found = 0.0
    for a, b in pairs:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.size:
            found = max(found, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return found


def frozen() -> dict[str, float | bool]:
    """Integer and float stages on 37 images, which neither 3 nor 4 divides."""
    images = np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), dtype=np.uint8)
    network = mobilenet_v1(0.25, (32, 32), 4)
    cut, parameters = Cut(network, 23), weights.random(network, 0)
    quantized = quantize.quantize(cut, parameters, images)
    below = {row.name: parameters[row.name] for row in cut.below if row.has_weights}
    empty = dataclasses.replace(quantized, stage=())
    found: dict[str, float | bool] = {}
    for count in (3, 4):
        mesh = devices.mesh(count)
        one = extractor.Extractor(cut, quantized, None)
        found[f"codes {count}"] = np.array_equal(
            one(images), dataclasses.replace(one, mesh=mesh)(images)
        )
        one = extractor.Extractor(cut, empty, below)
        found[f"floats {count}"] = difference(
            one(images), dataclasses.replace(one, mesh=mesh)(images)
        )
    return found


def learned(settings: Settings) -> dict[str, float]:
    """How far losses, parameters and logits of all events are from those of one device."""
    found = []
    for count in (1, settings.devices):
        session = qlrjax.prepare(dataclasses.replace(settings, devices=count))
        state = qlrjax.start(session)
        records = []
        while int(state.position) < session.events:
            state, record = qlrjax.learn_next(session, state)
            records.append(record)
        losses = np.array([[r["loss_first"], r["loss_last"]] for r in records], float)
        logits = evaluate.logits(session.learner, state.learner, session.test_latents)
        found.append((losses, state.learner.training.params, logits, state.learner.memory))
    one, several = found
    names = ("losses", "params", "logits", "memory")
    return {name: difference(a, b) for name, a, b in zip(names, one, several, strict=True)}


def is_split(count: int) -> bool:
    """Whether the program of an event adds up among devices."""
    session = qlrjax.prepare(dataclasses.replace(BASE, devices=count))
    state = qlrjax.start(session).learner
    latents = session.extractor(session.stream.source.read(session.stream.events[0]))
    labels = session.stream.source.labels[session.stream.events[0]]
    data = learner.EventData(latents, labels, 0, 0)
    event = learner._prepare(BASE.protocol, state.memory, data)
    placed = devices.on_each(session.learner.mesh, (state, event))
    text = learner._learn.lower(session.learner, *placed).compile().as_text()
    return "all-reduce" in text


def resumed(folder: Path) -> dict[str, object]:
    """A run that four devices begin and one device ends."""

    class Enough:
        requested = False

        def check(self):
            pass

    stop = Enough()

    def heard(record):
        stop.requested = record["event"] == 2

    four = dataclasses.replace(BASE, devices=4)
    begun = run.run(four, folder, on_event=heard, stop=stop)  # type: ignore[arg-type]
    ended = run.run(dataclasses.replace(four, devices=1), folder)
    return {
        "begun": begun.finished,
        "ended": ended.finished,
        "notes": list(ended.notes),
        "events": len(ended.records),
    }


if __name__ == "__main__":
    CASES = {
        "divided": dataclasses.replace(BASE, devices=4),
        "with empty places": dataclasses.replace(
            BASE,
            devices=3,
            frozen="float32",
            bits=32,
            protocol=dataclasses.replace(BASE.protocol, minibatch=7, synaptic_strength=2.5),
        ),
    }
    facts = {
        "devices": len(jax.devices()),
        "frozen": frozen(),
        "learned": {name: learned(settings) for name, settings in CASES.items()},
        "split": {str(count): is_split(count) for count in (1, 4)},
        "resumed": resumed(Path(sys.argv[1])),
    }
    print(json.dumps(facts))
