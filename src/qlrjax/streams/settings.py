"""Which images, in which events: what a session stores of its stream, without what opens it."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """Where images come from and how they are cut into learning events.

    Attributes:
        data: "builtin" (Fashion-MNIST), a folder of photos, "core50:PATH", "folder:PATH",
            "tfds:NAME" or "synthetic:...".
        order: "auto"; "nicv2_79", "nicv2_196" or "nicv2_391" for CORe50's official orders, of
            CORe50 or of synthetic data with its sessions and objects (50x11xFRAMES); or
            "generated" for the NICv2 rule with the session's seed.
        run: Which official order, 0 to 9.
        first_classes: Classes of the first event, where the order is generated.
        pairs_per_event: (session, class) pairs of every later event, likewise.
        test_sessions: Sessions never trained on; empty takes the data's own split.
        sessions: Slices that a class is cut into, where the data has no sessions of its own.
        joint: All events as one, the upper bound of continual learning.
        reduced_test: Every 20th test image only (of CORe50: its reduced test set).
        train_per_class: At most so many training images a class, built-in data only; 0 is all.
        test_per_class: Likewise of the test set.
        data_dir: Where tensorflow-datasets lie, or CORe50's prepared frames; empty is their
            default, the user's cache folder for the latter.
        strict: A photo that cannot be read is an error instead of being left out.
    """

    data: str = "builtin"
    order: Literal["auto", "nicv2_79", "nicv2_196", "nicv2_391", "generated"] = "auto"
    run: int = 0
    first_classes: int = 2
    pairs_per_event: int = 1
    test_sessions: tuple[int, ...] = ()
    sessions: int = 4
    joint: bool = False
    reduced_test: bool = False
    train_per_class: int = 0
    test_per_class: int = 0
    data_dir: str = ""
    strict: bool = False

    def __post_init__(self) -> None:
        for name in ("first_classes", "pairs_per_event", "sessions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("train_per_class", "test_per_class"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 (all) or more")
        if not 0 <= self.run <= 9:
            raise ValueError(f"run is {self.run}; the official orders have runs 0 to 9")
