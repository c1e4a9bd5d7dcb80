"""What a run's settings ask of memory and time, estimated before any work.

Every figure is a lower bound: what is refused would certainly not have fitted.
"""

import os
import re

from qlrjax import room, weights
from qlrjax.network import Cut, Network
from qlrjax.room import Need
from qlrjax.settings import Settings
from qlrjax.training.protocol import latent_bytes

_BATCH = 32  # images that pass the frozen stage together, see `extractor`
_FLOAT_BYTES = 4
# More than any core does in FP32, and longer than anybody waits.
_MACS_A_SECOND = 1e11
_DAYS_AT_MOST = 365
_WIDTH = re.compile(r"(?:\w+:)?random:\d+(?::(\d*\.?\d+))?")


def check(
    settings: Settings,
    classes: int = 1,
    events: int = 1,
    images: int = 1,
    network: Network | None = None,
    available: int | None = None,
) -> None:
    """Refuses settings that ask for more memory than there is, or for over a year of work.

    Args:
        settings: Of a run.
        classes: Logits, as far as they are known.
        events: Of the stream, likewise.
        images: Of all events together, likewise.
        network: What learns, where it is at hand; found by the settings otherwise.
        available: Bytes; what this machine has by default.

    Raises:
        ValueError: The largest need is named, with both figures; or the days are; or there is no
            such network.
    """
    match = _WIDTH.fullmatch(settings.weights)
    width = float(match[1] or 1.0) if match else 1.0
    channels = 4096 * max(width, 1.0)  # of the widest layer, and then some
    if settings.resolution > 2**16 or channels > 2**24 or width <= 0:
        raise ValueError(
            f"resolution {settings.resolution} and width {width:g} make a network that no memory "
            "holds; MobileNet-V1 has widths up to 1 and images of about 128 to 224 pixels"
        )
    network = network or weights.outline(settings.weights, max(classes, 1), settings.resolution)
    cut = Cut(network, settings.latent_layer)
    matrix = Need(f"the accuracies of {events} events on {classes} classes", 4 * events * classes)
    room.check([*needs(settings, cut), matrix], available)
    days = least_seconds(settings, cut, images) / 86_400
    if days > _DAYS_AT_MOST:
        raise ValueError(
            f"learning would take at least {days:.3g} days: {images} images, "
            f"{settings.protocol.epochs} epochs (--epochs) above layer {settings.latent_layer} "
            "(--latent-layer); choose fewer epochs, fewer images or a later layer"
        )


def least_seconds(settings: Settings, cut: Cut, images: int) -> float:
    """Seconds that learning cannot go below on this machine's cores, replays not counted."""
    epochs = min(settings.protocol.epochs, settings.protocol.first_epochs)
    forward = sum(layer.macs for layer in cut.above)
    # Backwards, gradients of weights and of inputs take as much again, each.
    return 3 * forward * images * epochs / (_MACS_A_SECOND * (os.cpu_count() or 1))


def needs(settings: Settings, cut: Cut) -> list[Need]:
    """What a run keeps in memory at once, parts that are small everywhere left out."""
    network, protocol = cut.network, settings.protocol
    elements = cut.latent_elements
    stored = settings.replays * (latent_bytes(elements, settings.bits) + 4)
    # Without replays, a mini-batch is never larger than its event, which is not known here.
    batch = protocol.minibatch if settings.replays else 1
    above = sum(layer.out_elements for layer in cut.above)
    epochs = max(protocol.epochs, protocol.first_epochs)
    widest = max(layer.out_elements for layer in network.layers)
    return [
        Need(f"{settings.replays} replays of {settings.bits} bits (--replays)", stored),
        Need(
            f"a mini-batch of {batch} latents and what the trained layers make of them "
            "(--minibatch)",
            batch * (elements + above) * _FLOAT_BYTES,
        ),
        Need(f"the order of {epochs} epochs (--epochs)", epochs * batch * 4),
        Need(
            f"{_BATCH} images of {settings.resolution} pixels in the frozen stage (--resolution)",
            _BATCH * widest,
        ),
        network_need(network),
    ]


def network_need(network: Network) -> Need:
    """What a network's weights take as floats."""
    weights = sum(layer.weights for layer in network.layers)
    return Need("the network's weights (--weights)", _FLOAT_BYTES * weights)
