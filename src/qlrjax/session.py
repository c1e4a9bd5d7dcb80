"""A continual-learning session: events in, learned one by one, an accuracy matrix out."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from qlrjax import weights
from qlrjax.integer import quantize
from qlrjax.integer.extractor import Extractor
from qlrjax.network import Cut
from qlrjax.network.floating import Parameters
from qlrjax.settings import Settings
from qlrjax.streams.open import open_stream
from qlrjax.streams.stream import Stream
from qlrjax.training import adaptive, evaluate, learner, replay
from qlrjax.training.learner import EventData, Learner, LearnerState

# Latents are kept for a second look (other settings, other seeds), up to this much memory.
_LATENT_CACHE_BYTES = 64 * 2**20

Progress = Callable[[str, int, int], None]
Record = dict[str, Any]


@flax.struct.dataclass
class SessionState:
    """All that a checkpoint must hold; nothing else influences the future.

    Attributes:
        learner: See `learner`.
        position: Events of the stream that were learned.
        accuracy: float32[events, classes], see `metrics`.
        introduced: int32[classes], the event that first brought the class; the number of events
            where none has.
    """

    learner: LearnerState
    position: Int32[Array, ""]
    accuracy: Float32[Array, "events classes"]
    introduced: Int32[Array, " classes"]


@dataclasses.dataclass(frozen=True)
class Session:
    """What a session works on; it never changes while events are learned.

    Attributes:
        settings: All settings.
        stream: Images and events.
        class_names: In label order: the stream's, then those learned from photos.
        cut: The network and where it is cut.
        parameters: Pretrained float parameters by layer name.
        extractor: The frozen stage.
        test_latents: Latents of the stream's test images.
        cache: Latents by image, filled as events are read while there is room.
    """

    settings: Settings
    stream: Stream
    class_names: tuple[str, ...]
    cut: Cut
    parameters: Parameters
    extractor: Extractor
    test_latents: np.ndarray
    cache: dict[int, np.ndarray]

    @property
    def learner(self) -> Learner:
        """What learns."""
        return Learner(self.cut, self.settings.protocol)

    @property
    def events(self) -> int:
        """Events of the stream."""
        return len(self.stream.events)

    @property
    def test_labels(self) -> np.ndarray:
        """int32 labels of the test images."""
        return self.stream.source.labels[self.stream.test]


def prepare(
    settings: Settings,
    extractor: Extractor | None = None,
    extra_names: tuple[str, ...] = (),
    on_progress: Progress | None = None,
    cache: dict[int, np.ndarray] | None = None,
) -> Session:
    """Opens the data and the weights, builds the frozen stage, extracts the test latents.

    Args:
        settings: All settings.
        extractor: The frozen stage of an earlier part of the run; without it, one is calibrated on
            the first event's images.
        extra_names: Classes that the run learned from photos, besides the stream's.
        on_progress: Called with (what, done, total).
        cache: Of an earlier session on the same data and extractor, such as another seed's.

    Raises:
        ValueError: A setting, the data or the weights are not usable; the sentence says which.
    """
    stream = open_stream(settings.stream, settings.resolution, settings.seed, on_progress)
    names = (*stream.source.class_names, *extra_names)
    network, parameters = weights.load(settings.weights, len(names), settings.resolution)
    cut = Cut(network, settings.latent_layer)
    if extractor is None:
        extractor = build_extractor(settings, cut, parameters, stream)
    cache = {} if cache is None else cache
    latents = _cached(extractor, stream, stream.test, cache, "test images", on_progress)
    return Session(settings, stream, names, cut, parameters, extractor, latents, cache)


def build_extractor(
    settings: Settings, cut: Cut, parameters: Parameters, stream: Stream
) -> Extractor:
    """The frozen stage, its ranges calibrated on images spread over the first event."""
    first = stream.events[0]
    count = min(settings.calibration_images, len(first))
    chosen = first[np.linspace(0, len(first) - 1, count).round().astype(int)]
    images = stream.source.read(chosen)
    if settings.frozen == "int8":
        return Extractor(cut, quantize.quantize(cut, parameters, images), None)
    ranges = quantize.calibrate(cut, parameters, images)
    below = {row.name: parameters[row.name] for row in cut.below}
    return Extractor(cut, quantize.QuantizedStage((), ranges), below)


def fidelity(session: Session) -> list[quantize.Fidelity]:
    """How close the integer stage stays to the float one, on up to 64 test images."""
    test = session.stream.test
    chosen = test[np.linspace(0, len(test) - 1, min(64, len(test))).round().astype(int)]
    images = session.stream.source.read(chosen)
    quantized = session.extractor.quantized
    return quantize.fidelity(session.cut, session.parameters, quantized, images)


def start(session: Session) -> SessionState:
    """The state before the first event."""
    latent_max = session.extractor.latent_max
    return initial_state(
        session.settings, session.cut, session.parameters, latent_max, session.events
    )


def initial_state(
    settings: Settings, cut: Cut, parameters: Parameters, latent_max: float, events: int
) -> SessionState:
    """A learner that has seen nothing, and an empty accuracy matrix.

    Args:
        settings: All settings.
        cut: The network and where it is cut; its logits are the classes.
        parameters: Pretrained float parameters of the adaptive layers.
        latent_max: Of the frozen stage.
        events: Rows of the accuracy matrix.
    """
    params, statistics = adaptive.init(cut, parameters)
    memory = replay.init(settings.replays, cut.latent_shape, settings.bits, latent_max)
    classes = cut.classes
    return SessionState(
        learner=learner.init(Learner(cut, settings.protocol), params, statistics, memory),
        position=jnp.zeros((), jnp.int32),
        accuracy=jnp.full((events, classes), jnp.nan, jnp.float32),
        introduced=jnp.full((classes,), events, jnp.int32),
    )


def learn_next(
    session: Session, state: SessionState, on_progress: Progress | None = None
) -> tuple[SessionState, Record]:
    """Learns the next event of the stream and tests, if it is time to.

    Args:
        session: What to work on.
        state: Consumed: do not use it afterwards.
        on_progress: See `prepare`.

    Returns:
        The new state and a record of plain JSON values; shares are of 1.
    """
    settings, event = session.settings, int(state.position)
    indices = session.stream.events[event]
    # One name, so that NumPy's copy is freed: the first event's latents can be 100 MB.
    latents = jnp.asarray(
        _cached(
            session.extractor, session.stream, indices, session.cache, "new images", on_progress
        )
    )
    labels = session.stream.source.labels[indices]
    number = int(state.learner.event)
    data = EventData(latents, labels, number, settings.seed, _rows(session, event))
    changed, losses = learner.learn_event(session.learner, state.learner, data)
    present = np.unique(labels)
    introduced = np.asarray(state.introduced)
    introduced = np.where(
        np.isin(np.arange(introduced.size), present), np.minimum(introduced, event), introduced
    )
    state = SessionState(
        learner=changed,
        position=jnp.asarray(event + 1, jnp.int32),
        accuracy=state.accuracy,
        introduced=jnp.asarray(introduced.astype(np.int32)),
    )
    losses = np.asarray(losses)
    record: Record = {
        "event": event,
        "of": session.events,
        "classes": [session.class_names[label] for label in present],
        "new_classes": int((introduced == event).sum()),
        "images": len(labels),
        "minibatches": len(losses),
        "loss_first": float(losses[0]),
        "loss_last": float(losses[-1]),
        "replays_filled": int(changed.memory.filled),
        "replay_bytes": changed.memory.bytes,
    }
    if not np.isfinite(losses).all():
        raise FloatingPointError(
            f"event {event}: the loss is not finite; lower the learning rate "
            f"(now {settings.protocol.learning_rate:g})"
        )
    if (event + 1) % settings.evaluate_every == 0 or event + 1 == session.events:
        state, accuracy = test(session, state, event)
        record |= accuracy
    return state, record


def test(session: Session, state: SessionState, event: int) -> tuple[SessionState, Record]:
    """Fills row `event` of the accuracy matrix and returns what a log line says of it."""
    predicted = predict(session, state, session.test_latents).argmax(axis=1)
    labels = session.test_labels
    row = evaluate.class_accuracy(predicted, labels, session.cut.classes)
    seen = (np.asarray(state.introduced) <= event) & ~np.isnan(row)
    record = {
        "accuracy": float(np.mean(predicted == labels)),
        "seen_accuracy": float(row[seen].mean()) if seen.any() else 0.0,
        "class_accuracy": [None if np.isnan(value) else float(value) for value in row],
    }
    filled = state.accuracy.at[event].set(jnp.asarray(row))
    return dataclasses.replace(state, accuracy=filled), record


def predict(
    session: Session, state: SessionState, latents: np.ndarray
) -> Float32[np.ndarray, "n classes"]:
    """Logits of latents."""
    return evaluate.logits(session.learner, state.learner, latents)


def learn_all(
    session: Session, state: SessionState, on_progress: Progress | None = None
) -> Iterator[tuple[SessionState, Record]]:
    """Learns the rest of the stream, giving the state and a record after every event."""
    while int(state.position) < session.events:
        state, record = learn_next(session, state, on_progress)
        yield state, record


def with_settings(session: Session, settings: Settings) -> Session:
    """The same data and frozen stage under other learning settings, without extracting again.

    Raises:
        ValueError: The settings would change the stream or the frozen stage.
    """
    fixed = ("latent_layer", "frozen", "weights", "resolution", "stream", "calibration_images")
    changed = [name for name in fixed if getattr(settings, name) != getattr(session.settings, name)]
    if changed:
        raise ValueError(f"{', '.join(changed)} cannot change without preparing a new session")
    return dataclasses.replace(session, settings=settings)


def extract(
    extractor: Extractor,
    stream: Stream,
    indices: np.ndarray,
    what: str,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """Latents of the stream's images, read in slices so that few images are in memory at once."""
    outputs, done = [], 0
    for begin in range(0, len(indices), 512):
        images = stream.source.read(indices[begin : begin + 512])
        outputs.append(extractor(images))
        done += len(images)
        if on_progress:
            on_progress(what, done, len(indices))
    return np.concatenate(outputs)


def _cached(
    extractor: Extractor,
    stream: Stream,
    indices: np.ndarray,
    cache: dict[int, np.ndarray],
    what: str,
    on_progress: Progress | None,
) -> np.ndarray:
    """Latents of images, from the cache where they are, into it while there is room."""
    missing = [index for index in indices.tolist() if index not in cache]
    if len(missing) == len(indices):
        latents = extract(extractor, stream, indices, what, on_progress)
        room = _LATENT_CACHE_BYTES // max(latents[0].nbytes, 1) - len(cache)
        if room >= len(latents):
            cache.update(zip(indices.tolist(), latents, strict=True))  # views: no second copy
        return latents
    fresh = extract(extractor, stream, np.asarray(missing), what, on_progress) if missing else []
    found = dict(zip(missing, fresh, strict=True))
    return np.stack([cache[i] if i in cache else found[i] for i in indices.tolist()])


def _rows(session: Session, event: int) -> int:
    """Later events are padded to the largest one's size, so that all share one program."""
    sizes = [len(indices) for indices in session.stream.events]
    return sizes[0] if event == 0 else max(sizes[1:])
