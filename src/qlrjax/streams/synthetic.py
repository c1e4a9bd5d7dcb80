"""Generated images for tests: any number of classes, sessions and frames, nothing stored."""

import hashlib
import re

import numpy as np
from jaxtyping import UInt8

from qlrjax import room
from qlrjax.room import Need
from qlrjax.streams import cut
from qlrjax.streams.stream import ImageSource, Stream

# Index, label, session and frame of each, and its place in an event.
_BYTES_AN_IMAGE = 32
_SPEC = re.compile(r"(\d+)x(\d+)x(\d+)")


def source(
    classes: int, sessions: int, frames: int, resolution: tuple[int, int], seed: int = 0
) -> ImageSource:
    """A pattern per class over a background per session, drawn when an image is read.

    Sessions are numbered from 1. An image is a pure function of (seed, class, session, frame).
    """
    count = classes * sessions * frames
    index = np.arange(count)
    labels = (index // frames % classes).astype(np.int32)
    session = (1 + index // (frames * classes)).astype(np.int32)
    frame = (index % frames).astype(np.int32)

    def read(indices: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                _draw(resolution, seed, int(labels[i]), int(session[i]), int(frame[i]))
                for i in np.asarray(indices)
            ]
        )

    spec = f"synthetic:{classes}x{sessions}x{frames}:{resolution}:{seed}"
    return ImageSource(
        name="synthetic",
        class_names=tuple(f"class {label}" for label in range(classes)),
        labels=labels,
        sessions=session,
        frames=frame,
        in_hw=resolution,
        read=read,
        digest=hashlib.sha256(spec.encode()).hexdigest(),
    )


def stream(spec: str, resolution: tuple[int, int], rule: cut.Rule) -> Stream:
    """A stream by the NICv2 rule; the last session is the test set.

    Args:
        spec: "CLASSESxSESSIONSxFRAMES", such as "10x4x5"; at least two sessions.
        resolution: (height, width), pixels.
        rule: Of the order.

    Raises:
        ValueError: The spec is not of that form.
    """
    classes, sessions, frames = parse(spec)
    images = source(classes, sessions, frames, resolution)
    return cut.by_nicv2_rule(images, (sessions,), rule)


def parse(spec: str) -> tuple[int, int, int]:
    """Classes, sessions and frames of "CLASSESxSESSIONSxFRAMES".

    Raises:
        ValueError: The spec is not of that form, has fewer than two sessions, or more images than
            memory holds.
    """
    match = _SPEC.fullmatch(spec)
    classes, sessions, frames = map(int, match.groups()) if match else (0, 0, 0)
    if min(classes, sessions, frames) < 1 or sessions < 2:
        raise ValueError(
            f"synthetic data {spec!r} is not CLASSESxSESSIONSxFRAMES with at least two sessions, "
            "such as synthetic:10x4x5"
        )
    images = classes * sessions * frames
    room.check([Need(f"the {images} images of synthetic:{spec}", _BYTES_AN_IMAGE * images)])
    return classes, sessions, frames


def _draw(
    resolution: tuple[int, int], seed: int, label: int, session: int, frame: int
) -> UInt8[np.ndarray, "h w 3"]:
    height, width = resolution
    shape = np.random.default_rng([seed, 1, label])
    scene = np.random.default_rng([seed, 2, session])
    noise = np.random.default_rng([seed, 3, label, session, frame])
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle, waves, phase = shape.uniform(0, np.pi), shape.uniform(2, 6), noise.uniform(0, 2)
    stripes = np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    colour, ground = shape.uniform(40, 110, 3), scene.uniform(80, 150, 3)
    image = ground + stripes[..., None] * colour + noise.normal(0, 8, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)
