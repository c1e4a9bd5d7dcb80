"""The built-in data: real product photos of Fashion-MNIST (Zalando Research, MIT licence).

400 training and 100 test images of each of 10 classes, 28x28 grey, scaled to the network's size
when they are read. Sessions are fixed slices of a class's training images: unlike CORe50's they are
not recorded in different places, so they differ less than real sessions do.
"""

import functools
import hashlib
import importlib.resources
import io

import numpy as np
from PIL import Image

from qlrjax.streams import cut, nicv2
from qlrjax.streams.stream import ImageSource, Stream

ASSET = "fashion_mnist.npz"
ASSET_SHA256 = "661473dfba44627c806f7d2825c8bf7d252b9b4b353a266d3208708bff077364"
CLASS_NAMES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
TEST_SESSION = 0


def source(resolution: tuple[int, int], sessions: int = 4) -> ImageSource:
    """Training images in sessions 1..sessions, test images in session 0.

    Raises:
        ValueError: The installed asset is damaged, or there are more sessions than images.
    """
    train, test = _arrays()
    per_class = train.shape[1]
    if not 1 <= sessions <= per_class:
        raise ValueError(f"{sessions} sessions cannot be cut from {per_class} images a class")
    pixels = np.concatenate([train.reshape(-1, 28, 28), test.reshape(-1, 28, 28)])
    classes = np.arange(len(CLASS_NAMES), dtype=np.int32)
    train_frame, test_frame = np.arange(per_class), np.arange(test.shape[1])
    slices = 1 + train_frame * sessions // per_class

    def read(indices: np.ndarray) -> np.ndarray:
        return np.stack([_scale(pixels[index], resolution) for index in indices])

    return ImageSource(
        name="Fashion-MNIST",
        class_names=CLASS_NAMES,
        labels=np.concatenate([np.repeat(classes, per_class), np.repeat(classes, test.shape[1])]),
        sessions=np.concatenate(
            [np.tile(slices, 10), np.full(10 * test.shape[1], TEST_SESSION)]
        ).astype(np.int32),
        frames=np.concatenate([np.tile(train_frame, 10), np.tile(test_frame, 10)]).astype(np.int32),
        in_hw=resolution,
        read=read,
        digest=ASSET_SHA256,
    )


def stream(
    resolution: tuple[int, int],
    sessions: int,
    rule: cut.Rule,
    train_per_class: int = 0,
    test_per_class: int = 0,
) -> Stream:
    """Fashion-MNIST as a stream by the NICv2 rule.

    Args:
        resolution: (height, width), pixels.
        sessions: Slices that a class's training images are cut into.
        rule: Of the order.
        train_per_class: At most so many training images a class; 0 is all 400.
        test_per_class: At most so many test images a class; 0 is all 100.
    """
    images = source(resolution, sessions)
    keep = _limit(images, train_per_class, test_per_class)
    train = keep & (images.sessions != TEST_SESSION)
    pairs = {
        (int(s), int(c)) for s, c in zip(images.sessions[train], images.labels[train], strict=True)
    }
    order = nicv2.generate_order(pairs, rule.first_classes, rule.pairs_per_event, rule.seed)
    events = tuple(
        np.concatenate(
            [
                np.flatnonzero(train & (images.sessions == s) & (images.labels == c))
                for s, c in event
            ]
        )
        for event in order
    )
    return Stream(images, events, np.flatnonzero(keep & (images.sessions == TEST_SESSION)))


def _limit(images: ImageSource, train: int, test: int) -> np.ndarray:
    """True for the images to keep: the first of every class, spread over its sessions."""
    is_test = images.sessions == TEST_SESSION
    count = int(images.frames[~is_test].max()) + 1
    # Every k-th frame, so that a smaller set spreads over the sessions.
    chosen = np.unique(np.arange(train) * count // train) if train else np.arange(count)
    keep_train = ~is_test & np.isin(images.frames, chosen)
    return keep_train | (is_test & (images.frames < (test or count)))


@functools.cache
def _arrays() -> tuple[np.ndarray, np.ndarray]:
    data = importlib.resources.files("qlrjax").joinpath("assets", ASSET).read_bytes()
    if hashlib.sha256(data).hexdigest() != ASSET_SHA256:
        raise ValueError(f"the built-in data {ASSET} is damaged; install qlrjax again")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return archive["train"], archive["test"]


def _scale(grey: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    height, width = resolution
    image = Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC)
    return np.repeat(np.asarray(image)[..., None], 3, axis=2)
