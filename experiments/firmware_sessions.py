"""Five events of photos in JAX and in the exported firmware: the table of differences.

A folder of photos in CORe50's layout is learned twice from the same start: by JAX, and by the
firmware built for this machine or for an emulated board, which sees the images and nothing else.
Integers are event counters, replay bytes, labels, used slots and the latents that wait; parameters
are the trained layers, their statistics and the classifier.

    make firmware-test    # once: the compilers and the emulators
    PYTHONPATH=tests .venv/bin/python experiments/firmware_sessions.py --data PHOTOS

Expected: 0 in every integer, parameters below 1e-4 relative, every prediction the same. About 40
minutes on 2 cores; `--only host` 15, `--only centered` 4, `--only boards` 25. Results go to
experiments/results/firmware_sessions.csv. Verified: yes.
"""

import argparse
import csv
import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from support import firmware

from qlrjax import session as learning
from qlrjax.export.firmware import source
from qlrjax.export.firmware import target as firmware_target
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.session import Session, SessionState
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.streams.stream import Stream
from qlrjax.training.protocol import Protocol

Labels = tuple[np.ndarray, np.ndarray]
PARAMETERS = ("layers", "mean", "deviation", "center", "head")


@dataclasses.dataclass(frozen=True)
class Case:
    """One session.

    Attributes:
        target: Of the firmware.
        width: Of MobileNet-V1.
        pixels: Side of the images.
        layer: Latent layer.
        bits: Of a stored code.
        normalization: Of the trained layers.
        events: How many are learned.
        images: Of an event.
        minibatch: Samples.
        replays: Slots.
        tests: Photos of the unseen sessions that both sides are asked about.
    """

    target: str
    width: float
    pixels: int
    layer: int
    bits: int
    normalization: str
    events: int = 5
    images: int = 40
    minibatch: int = 32
    replays: int = 100
    tests: int = 75
    centered: bool = False

    @property
    def key(self) -> str:
        """What makes the case, for people."""
        return (
            f"{self.target}, width {self.width:g}, {self.pixels}x{self.pixels}, l = {self.layer}, "
            f"{self.bits} bits, {self.normalization}{', centered' if self.centered else ''}"
        )


HOST = tuple(
    Case("host", 1.0, 128, layer, bits, normalization)
    for layer in (27, 25)
    for bits in (8, 6)
    for normalization in ("renorm", "running")
)
CENTERED = (  # the default: one head on centered features; the others have CWR*'s on what there is
    Case("host", 1.0, 128, 27, 8, "renorm", centered=True),
    Case("host", 1.0, 128, 25, 8, "renorm", centered=True),
)
# An emulated serial line takes about a second for a photo.
_FIVE: dict[str, Any] = {"images": 20, "minibatch": 24, "tests": 15}
_ONE: dict[str, Any] = {"events": 1, "images": 8, "minibatch": 8, "replays": 8, "tests": 5}
BOARDS = (
    Case("mps2-an386", 0.25, 48, 25, 6, "renorm", **_FIVE),
    Case("mps2-an386", 0.25, 64, 25, 8, "running", **_FIVE),
    Case("netduinoplus2-qemu7", 0.25, 96, 27, 6, "renorm", **_FIVE),
    Case("rv32-virt", 0.25, 48, 25, 6, "renorm", **_FIVE),
    Case("rv32-virt", 0.25, 96, 25, 8, "running", **_FIVE),
    Case("rv32-virt", 0.25, 96, 27, 6, "renorm", **_FIVE),
    Case("mps2-an386", 1.0, 96, 25, 8, "renorm", **_ONE),
    Case("rv32-virt", 1.0, 96, 25, 8, "renorm", **_ONE),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn photos in JAX and in the firmware.")
    parser.add_argument("--data", required=True, help="photos in CORe50's layout, sS/oO/*.jpg")
    parser.add_argument("--only", choices=("host", "centered", "boards"), help="without it, all")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    arguments = parser.parse_args()
    every = HOST + CENTERED + BOARDS
    cases = {"host": HOST, "centered": CENTERED, "boards": BOARDS, None: every}[arguments.only]
    path = arguments.out / "firmware_sessions.csv"
    rows: dict[str, Mapping[str, object]] = {row["session"]: row for row in _read(path)}
    for case in cases:
        row = compare(case, arguments.data)
        print(" | ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        rows[case.key] = row
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerows(rows[one.key] for one in every if one.key in rows)
    wrong = [name for name, row in rows.items() if str(row["integers"]) != "0"]
    if wrong:
        raise SystemExit(f"integers differ: {'; '.join(wrong)}")


def prepare(case: Case, data: str) -> Session:
    """The session, its events cut to the case's number of photos, spread over each event's."""
    settings = Settings(
        latent_layer=case.layer,
        replays=case.replays,
        bits=case.bits,
        weights="builtin" if case.width == 1.0 else f"random:1:{case.width:g}",
        resolution=case.pixels,
        calibration_images=64,
        stream=StreamSettings(
            data=f"core50:{data}",
            order="generated",
            first_classes=5,
            pairs_per_event=5,
            test_sessions=(3, 7),
            reduced_test=True,
        ),
        protocol=Protocol(
            minibatch=case.minibatch,
            first_epochs=2,
            epochs=2,
            normalization=case.normalization,  # pyright: ignore[reportArgumentType]
            draws="portable",
            center_momentum=Protocol.center_momentum if case.centered else 0.0,
        ),
    )
    whole = learning.prepare(settings)
    stream = whole.stream
    events = tuple(
        event[np.linspace(0, len(event) - 1, case.images).round().astype(int)]
        for event in stream.events[: case.events]
    )
    asked = np.linspace(0, len(stream.test) - 1, case.tests).round().astype(int)
    return dataclasses.replace(
        whole,
        stream=Stream(stream.source, events, stream.test[asked]),
        test_latents=whole.test_latents[asked],
    )


def compare(case: Case, data: str) -> dict[str, object]:
    """Learns on both sides; the table's row."""
    session = prepare(case, data)
    state = learning.start(session)
    latents, steps = 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exported = FirmwareSession(
            learner=session.learner,
            stage=session.extractor.quantized.stage,
            latent_max=session.extractor.latent_max,
            state=state.learner,
            seed=session.settings.seed,
        )
        source.export(folder, exported, firmware_target.load(case.target), case.images)
        firmware.make(folder)
        board = firmware.connect(folder, case.target)
        for indices in session.stream.events:
            images = session.stream.source.read(indices)
            for image, label in zip(images, session.stream.source.labels[indices], strict=True):
                assert board.observe(image.tobytes(), int(label)) == 0
            waiting = np.frombuffer(board.waiting(len(images)), np.uint8).astype(int)
            wanted = np.asarray(session.extractor(images)).astype(int).ravel()
            latents = max(latents, int(np.abs(waiting - wanted).max()))
            state, record = learning.learn_next(session, state)
            status, taken, _, _ = board.learn()
            assert (status, taken) == (0, record["minibatches"])
            steps += taken
        expected = firmware.state_arrays(session.learner, state.learner)
        integers, floats = firmware.differences(board, expected)
        predicted, wanted = _predictions(session, state, board, expected["past"] > 0)
        board.quit()
    known = expected["past"][session.test_labels] > 0
    return {
        "session": case.key,
        "events": len(session.stream.events),
        "mini-batches": steps,
        "integers": max(latents, integers),
        "parameters": f"{max(floats[one] for one in PARAMETERS):.1e}",
        "momentum": f"{max(floats['momentum'], floats['head_momentum']):.1e}",
        "predictions": f"{np.sum(predicted == wanted)} of {len(wanted)}",
        "right": f"{np.mean((predicted == session.test_labels)[known]):.0%}",
    }


def _predictions(session: Session, state: SessionState, board: Any, seen: np.ndarray) -> Labels:
    """What the board and JAX say of every test image: the likeliest of the classes seen so far."""
    logits = learning.predict(session, state, session.test_latents)
    images = session.stream.source.read(session.stream.test)
    predicted = np.array([board.predict(image.tobytes())[0] for image in images])
    return predicted, np.where(seen, logits, -np.inf).argmax(axis=1)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
