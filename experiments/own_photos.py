"""Teach a finished session objects it has never seen, from 20 photos each, and count what it costs.

Source: ours; the practical use of the method. A new class should take seconds, and the old classes
lose nothing measurable.

Command (photos in scenes50's layout: session/object/images, sessions 3 and 7 are the test set):

    python experiments/own_photos.py --data FOLDER --unseen 5 --out runs/own

Expected: every new class is learned in seconds; accuracy on the old ones changes by about a point.
Minutes on 2 cores: about 2.
Verified: see the README.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from qlrjax import interrupt, photos, run, runfolder, session
from qlrjax.settings import Settings, StreamSettings
from qlrjax.streams import folder as folders


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--test-sessions", type=int, nargs="+", default=[3, 7])
    parser.add_argument("--unseen", type=int, default=5, help="objects kept from the session")
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--latent-layer", type=int, default=27)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    known, unseen = split(arguments.data, arguments.out / "known", arguments.unseen)
    settings = Settings(
        latent_layer=arguments.latent_layer, evaluate_every=1000,
        stream=StreamSettings(
            data=f"folder:{known}", first_classes=9, pairs_per_event=5,
            test_sessions=tuple(arguments.test_sessions),
        ),
    )  # fmt: skip
    with interrupt.catch() as stop:
        outcome = run.run(settings, arguments.out / "run", stop=stop)
    if not outcome.finished:
        return stop.exit_code
    everything = folders.source(arguments.data, (128, 128))
    opened = run.open_run(arguments.out / "run")
    state, names = opened.state, opened.class_names
    old_test = outcome.session.test_latents
    before = old_accuracy(outcome.session, state, len(names), old_test)
    rows = [{"learned": "", "seconds": 0.0, "new_percent": None, "old_percent": before}]
    is_test = np.isin(everything.sessions, arguments.test_sessions)
    for name in unseen:
        mine = everything.labels == everything.class_names.index(name)
        spread = np.flatnonzero(mine & ~is_test)
        spread = spread[np.linspace(0, len(spread) - 1, arguments.photos).round().astype(int)]
        images = everything.read(spread)
        started = time.perf_counter()
        lesson = photos.learn(settings, opened.extractor, names, state, name, images)
        seconds = time.perf_counter() - started
        state, names = lesson.state, lesson.class_names
        asked = everything.read(np.flatnonzero(mine & is_test))
        shares = photos.probabilities(settings, opened.extractor, state, asked)
        new = float(np.mean(shares.argmax(axis=1) == names.index(name)))
        old = old_accuracy(outcome.session, state, len(names), old_test)
        rows.append({"learned": name, "seconds": round(seconds, 2), "new_percent": 100 * new,
                     "old_percent": old})  # fmt: skip
        print(rows[-1], flush=True)
    runfolder.write_atomic(arguments.out / "own_photos.json", json.dumps(rows, indent=2) + "\n")
    return 0


def split(data: Path, known: Path, unseen: int) -> tuple[Path, list[str]]:
    """A folder of links to all objects but the last ones, and the names of those."""
    sessions = sorted(path for path in data.iterdir() if path.is_dir())
    names = sorted({item.name for path in sessions for item in path.iterdir() if item.is_dir()})
    kept_back = names[-unseen:]
    for path in sessions:
        (known / path.name).mkdir(parents=True, exist_ok=True)
        for item in path.iterdir():
            link = known / path.name / item.name
            if item.name not in kept_back and not link.exists():
                link.symlink_to(item.resolve(), target_is_directory=True)
    return known, kept_back


def old_accuracy(
    prepared: session.Session, state: session.SessionState, classes: int, latents: np.ndarray
) -> float:
    """Accuracy on the old classes' test images, in percent, with all `classes` to choose from."""
    shares = photos.probabilities(
        prepared.settings, prepared.extractor, state, latents, are_latents=True
    )
    assert shares.shape[1] == classes
    return 100 * float(np.mean(shares.argmax(axis=1) == prepared.test_labels))


if __name__ == "__main__":
    raise SystemExit(main())
