"""A continual-learning session: events in, learned one by one, an accuracy matrix out."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jax.profiler import TraceAnnotation
from jaxtyping import Array, Float32, Int32

from qlrjax import calibrated, devices, latents, weights
from qlrjax.integer import quantize
from qlrjax.integer.extractor import Extractor
from qlrjax.network import Cut, Network
from qlrjax.network.floating import Parameters
from qlrjax.settings import Settings
from qlrjax.streams.open import open_stream
from qlrjax.streams.stream import Stream
from qlrjax.training import adaptive, evaluate, kernels, learner, replay, strategies
from qlrjax.training.learner import EventData, Learner, LearnerState
from qlrjax.training.rates import check_normalization
from qlrjax.training.strategies import Strategy

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
        strategy: What is kept besides replays, and who answers.
        extractor: The frozen stage.
        test_latents: Latents of the stream's test images.
        cache: Where latents are kept for a second look: other settings, other seeds.
    """

    settings: Settings
    stream: Stream
    class_names: tuple[str, ...]
    cut: Cut
    parameters: Parameters
    strategy: Strategy
    extractor: Extractor
    test_latents: np.ndarray
    cache: latents.Kept

    @property
    def learner(self) -> Learner:
        """What learns."""
        mesh = devices.mesh(self.settings.devices)
        native = mesh is None and kernels.serve(self.cut)
        return Learner(self.cut, self.settings.protocol, self.strategy, mesh, native)

    @property
    def events(self) -> int:
        """Events of the stream."""
        return len(self.stream.events)

    @property
    def test_labels(self) -> np.ndarray:
        """int32 labels of the test images."""
        return self.stream.source.labels[self.stream.test]

    @functools.cached_property
    def tests_on_device(self) -> tuple[Array, ...] | None:
        """The test latents as `evaluate` keeps them between tests."""
        return evaluate.on_device(self.learner.mesh, self.test_latents)


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What an earlier part of a run, or another run on the same data, has done already.

    Attributes:
        extractor: Its frozen stage; None calibrates one on the first event's images.
        extra_names: Classes that the run learned from photos, besides the stream's.
        cache: Where its latents are kept; without one, see `latents.place`.
    """

    extractor: Extractor | None = None
    extra_names: tuple[str, ...] = ()
    cache: latents.Kept | None = None


def prepare(
    settings: Settings,
    *,
    stream: Stream | None = None,
    network: tuple[Network, Parameters] | None = None,
    strategy: Strategy | None = None,
    earlier: Earlier | None = None,
    on_progress: Progress | None = None,
) -> Session:
    """Opens the data and the weights, builds the frozen stage, extracts the test latents.

    Args:
        settings: All settings; those of what is given below are not looked at.
        stream: Images and events of your own, instead of `settings.stream`.
        network: A layer table and its pretrained parameters by layer name, instead of
            `settings.weights`; it gets as many logits as there are classes.
        strategy: A strategy of your own, instead of the one that `settings.protocol` names.
        earlier: What need not be done again.
        on_progress: Called with (what, done, total).

    Raises:
        ValueError: A setting, the data or the weights are not usable; the sentence says which.
    """
    earlier, mesh = earlier or Earlier(), devices.mesh(settings.devices)
    own = stream
    if stream is None:
        stream = open_stream(settings.stream, settings.resolution, settings.seed, on_progress)
    names = (*stream.source.class_names, *earlier.extra_names)
    table, parameters = network or weights.load(settings.weights, len(names), settings.resolution)
    cut = Cut(table, settings.latent_layer).with_classes(len(names))
    check_normalization(settings.protocol, cut)
    extractor = earlier.extractor or build_extractor(settings, cut, parameters, stream)
    extractor = dataclasses.replace(extractor, mesh=mesh) if mesh else extractor
    cache = earlier.cache
    if cache is None:  # the digest of a stream of one's own is whatever its author made it
        cache = latents.place(extractor, stream) if own is None else latents.InMemory()
    tested = latents.read(extractor, stream, stream.test, cache, on_progress, "test images")
    return Session(
        settings=settings,
        stream=stream,
        class_names=names,
        cut=cut,
        parameters=parameters,
        strategy=strategy or strategies.named(settings.protocol, settings.replays),
        extractor=extractor,
        test_latents=tested,
        cache=cache,
    )


def build_extractor(
    settings: Settings, cut: Cut, parameters: Parameters, stream: Stream
) -> Extractor:
    """The frozen stage, its ranges calibrated on images spread over the first event."""
    first = stream.events[0]
    count = min(settings.calibration_images, len(first))
    chosen = first[np.linspace(0, len(first) - 1, count).round().astype(int)]
    images = stream.source.read(chosen)
    if settings.frozen == "int8":
        return Extractor(cut, calibrated.stage(cut, parameters, images, integer=True), None)
    below = {row.name: parameters[row.name] for row in cut.below if row.has_weights}
    return Extractor(cut, calibrated.stage(cut, parameters, images, integer=False), below)


def start(session: Session) -> SessionState:
    """The state before the first event."""
    quantized = session.extractor.quantized
    return initial_state(
        session.settings, session.learner, session.parameters, quantized, session.events
    )


def initial_state(
    settings: Settings,
    taught: Learner,
    parameters: Parameters,
    quantized: quantize.QuantizedStage,
    events: int,
) -> SessionState:
    """A learner that has seen nothing, and an empty accuracy matrix.

    Args:
        settings: All settings.
        taught: What learns; its network's logits are the classes.
        parameters: Pretrained float parameters of the adaptive layers.
        quantized: The frozen stage; what its latents' codes mean is all that is used.
        events: Rows of the accuracy matrix.
    """
    cut, epsilon_in_std = taught.cut, settings.protocol.epsilon_in_std
    params, statistics = adaptive.init(cut, parameters, epsilon_in_std)
    memory = replay.init(
        settings.replays,
        cut.latent_shape,
        settings.bits,
        quantized.latent_max,
        quantized.latent_min,
    )
    classes = cut.classes
    return SessionState(
        learner=learner.init(taught, params, statistics, memory),
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
    learned = jnp.asarray(
        latents.read(
            session.extractor, session.stream, indices, session.cache, on_progress, "new images"
        )
    )
    labels = session.stream.source.labels[indices]
    number = int(state.learner.event)
    data = EventData(learned, labels, number, settings.seed, _rows(session, event))
    with TraceAnnotation("learning"):
        changed, losses = learner.learn_event(session.learner, state.learner, data)
        losses = np.asarray(losses)
    present = np.unique(labels)
    introduced = np.array(state.introduced)
    introduced[present] = np.minimum(introduced[present], event)
    position = jnp.asarray(event + 1, jnp.int32)
    state = SessionState(changed, position, state.accuracy, jnp.asarray(introduced))
    record: Record = {
        "event": event,
        "of": session.events,
        "classes": [session.class_names[label] for label in present],
        "new_classes": int((introduced == event).sum()),
        "images": len(labels),
        "minibatches": len(losses),
        "loss_first": float(losses[0]) if len(losses) else None,
        "loss_last": float(losses[-1]) if len(losses) else None,
        "replays_filled": int(changed.memory.filled),
        "replay_bytes": changed.memory.bytes,
    }
    if not np.isfinite(losses).all():
        raise FloatingPointError(
            f"event {event}: the loss is not finite; lower the learning rate "
            f"(now {settings.protocol.learning_rate:g})"
        )
    if (event + 1) % settings.evaluate_every == 0 or event + 1 == session.events:
        with TraceAnnotation("evaluation"):
            state, accuracy = test(session, state, event)
        record |= accuracy
    return state, record


def test(session: Session, state: SessionState, event: int) -> tuple[SessionState, Record]:
    """Fills row `event` of the accuracy matrix and returns what a log line says of it."""
    taught, tests = session.learner, session.test_latents
    placed = session.tests_on_device or evaluate.batches(taught.mesh, tests)
    logits = evaluate.logits_of(taught, state.learner, placed, len(tests))
    predicted = logits.argmax(axis=1)
    labels = session.test_labels
    row = evaluate.class_accuracy(predicted, labels, session.cut.classes)
    seen = (np.asarray(state.introduced) <= event) & ~np.isnan(row)
    record = {
        "accuracy": float(np.mean(predicted == labels)),
        "seen_accuracy": float(row[seen].mean()) if seen.any() else 0.0,
        "class_accuracy": [None if np.isnan(value) else float(value) for value in row],
        "confusion": confusion(predicted, labels),
    }
    filled = np.array(state.accuracy)
    filled[event] = row
    return dataclasses.replace(state, accuracy=jnp.asarray(filled)), record


def confusion(predicted: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """[class, predicted class, images] where there are any, of int32[n] each."""
    span = int(predicted.max(initial=0)) + 1
    pairs, counts = np.unique(labels.astype(np.int64) * span + predicted, return_counts=True)
    return np.column_stack([pairs // span, pairs % span, counts]).tolist()


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

    The strategy is the one that the settings name.

    Raises:
        ValueError: The settings would change the stream or the frozen stage.
    """
    fixed = ("latent_layer", "frozen", "weights", "resolution", "stream", "calibration_images")
    changed = [name for name in fixed if getattr(settings, name) != getattr(session.settings, name)]
    if changed:
        raise ValueError(f"{', '.join(changed)} cannot change without preparing a new session")
    named = strategies.named(settings.protocol, settings.replays)
    return dataclasses.replace(session, settings=settings, strategy=named)


def _rows(session: Session, event: int) -> int:
    """Later events are padded to the largest one's size, so that all share one program."""
    sizes = [len(indices) for indices in session.stream.events]
    return sizes[0] if event == 0 else max(sizes[1:])
