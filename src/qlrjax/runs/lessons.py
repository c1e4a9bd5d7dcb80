"""A run meets its user's own photos: one more learning event, or a question."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from qlrjax.integer.extractor import Extractor
from qlrjax.network import Network
from qlrjax.runs import grow
from qlrjax.session import Record, SessionState
from qlrjax.settings import Settings
from qlrjax.streams.photos import read_all
from qlrjax.training import evaluate, kernels, learner, strategies
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.strategies import LateClass, Strategy


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What learning from photos gave.

    Attributes:
        state: The learner afterwards.
        class_names: With the new class at the end, if it is one.
        record: Plain JSON values for the log.
    """

    state: SessionState
    class_names: tuple[str, ...]
    record: Record


def read_photos(paths: Sequence[Path], network: Network) -> UInt8[np.ndarray, "n h w 3"]:
    """All photos of folders and files, at the network's size.

    Raises:
        ValueError: A photo is missing or damaged, or a folder has none; it is named.
    """
    return read_all(paths, network.in_hw, strict=True).images


def learn(
    settings: Settings,
    extractor: Extractor,
    class_names: tuple[str, ...],
    state: SessionState,
    label: str,
    images: UInt8[np.ndarray, "n h w 3"],
    strategy: Strategy | None = None,
) -> Lesson:
    """One learning event with photos of one class; a new one is learned as `LateClass` says.

    Photos count as an event like the stream's, so that admission goes on as in the protocol; but
    `state.position`, the place in the stream, stays where it is.

    Args:
        settings: Of the run.
        extractor: Its frozen stage; the number of classes may be that before the new one.
        class_names: Classes so far.
        state: Consumed.
        label: The class.
        images: At the network's size.
        strategy: Of the run, if it is not the one that its settings name.
    """
    strategy = strategy or strategies.named(settings.protocol, settings.replays)
    if label not in class_names:
        class_names = (*class_names, label)
        state = grow.add_class(state, strategy)
    index, latents = class_names.index(label), jnp.asarray(extractor(images))
    # One that was forgotten, or that the stream has not brought yet, is new to the head, too.
    is_new = not float(strategy.past(state.learner.training.kept)[index])
    if is_new and strategy.trains:  # what trains nothing learns every class alike
        strategy = LateClass(run=strategy, weight_decay=settings.protocol.weight_decay)
    cut = extractor.cut.with_classes(len(class_names))
    taught = Learner(cut, settings.protocol, strategy, native=kernels.serve(cut))
    labels = np.full(len(images), index, np.int32)
    data = EventData(latents, labels, int(state.learner.event), settings.seed)
    changed, losses = learner.learn_event(taught, state.learner, data)
    latest = max(int(state.position) - 1, 0)
    first_seen = jnp.minimum(state.introduced[index], latest)
    state = dataclasses.replace(
        state, learner=changed, introduced=state.introduced.at[index].set(first_seen)
    )
    record = {
        "learned_from_photos": label,
        "images": len(images),
        "loss_first": float(losses[0]) if len(losses) else None,
        "loss_last": float(losses[-1]) if len(losses) else None,
        "replays_filled": int(changed.memory.filled),
    }
    return Lesson(state, class_names, record)


def probabilities(
    settings: Settings,
    extractor: Extractor,
    state: SessionState,
    images: np.ndarray,
    are_latents: bool = False,
    strategy: Strategy | None = None,
) -> Float32[np.ndarray, "n classes"]:
    """Softmax over the classes learned so far; classes never seen have probability 0.

    Args:
        settings: Of the run.
        extractor: Its frozen stage.
        state: The learner.
        images: uint8[n, h, w, 3] at the network's size.
        are_latents: `images` are the extractor's latents already.
        strategy: Of the run, if it is not the one that its settings name.

    Raises:
        FloatingPointError: Weights are finite, but so large that their products are not.
    """
    strategy = strategy or strategies.named(settings.protocol, settings.replays)
    classes = state.introduced.shape[0]
    taught = Learner(extractor.cut.with_classes(classes), settings.protocol, strategy)
    latents = images if are_latents else extractor(images)
    logits = evaluate.logits(taught, state.learner, latents)
    seen = np.asarray(strategy.past(state.learner.training.kept)) > 0
    if not np.isfinite(logits[:, seen]).all():
        raise FloatingPointError(
            "what the run says of these images is not finite: its weights are too large; go back "
            "to an earlier state, or learn anew"
        )
    logits = np.where(seen[None, :], logits, -np.inf)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
