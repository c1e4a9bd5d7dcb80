"""What every stream of learning events gives: labelled images by index, events, a test set."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from qlrjax.names import check_class, printable

Read = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Images that can be read by index, and what is known of each.

    Attributes:
        name: For people and for the run folder.
        class_names: Name of every label, in label order.
        labels: int32[n], index into `class_names`.
        sessions: int32[n], the recording session (any integers).
        frames: int32[n], order within a (session, label) pair.
        in_hw: Height and width of what `read` gives, pixels.
        read: int64[k] indices to uint8[k, h, w, 3] RGB images, in the given order.
        digest: SHA-256 in hex of whatever identifies the images.
    """

    name: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    sessions: np.ndarray
    frames: np.ndarray
    in_hw: tuple[int, int]
    read: Read
    digest: str

    def __post_init__(self) -> None:
        for name in self.class_names:
            check_class(name, f"data {printable(self.name, 40)!r}: the class")


@dataclasses.dataclass(frozen=True)
class Stream:
    """A source, cut into learning events and a test set that no event touches.

    Attributes:
        source: Where the images come from.
        events: int64[k] image indices of every event, in the order of learning.
        test: int64[m] image indices.
    """

    source: ImageSource
    events: tuple[np.ndarray, ...]
    test: np.ndarray

    def __post_init__(self) -> None:
        if not self.events or any(event.size == 0 for event in self.events):
            raise ValueError(
                f"stream {self.source.name!r} has an event without images; "
                "check the folder and the order of events"
            )
        if self.test.size == 0:
            raise ValueError(
                f"stream {self.source.name!r} has no test images; name at least one test session"
            )
        if np.intersect1d(np.concatenate(self.events), self.test).size:
            raise ValueError(f"stream {self.source.name!r} would train on test images")

    def digest(self) -> str:
        """SHA-256 in hex of images, labels, events and test set: what a session is bound to."""
        hasher = hashlib.sha256(self.source.digest.encode())
        arrays: Sequence[np.ndarray] = (self.source.labels, *self.events, self.test)
        for array in arrays:
            hasher.update(np.ascontiguousarray(array, np.int64).tobytes())
            hasher.update(b"|")
        return hasher.hexdigest()
