"""Peak memory of a NICv2-391 session with 3000 8-bit replays at latent layer 20 (98 MB of replays).

Source: the acceptance criterion of the CORe50 work, below 2 GB; `paper.md` 4.4 gives the replays.
Command: python experiments/peak_memory.py [--events 4] [--out peak_memory.json]
Expected: below 2,000 MB resident (measured by the operating system, not estimated).
Takes: 3 minutes on 2 cores.
Verified: 1,843 MB on a 2-core x86-64 machine, jax 0.10.2; results/peak_memory.json.

A child process, with all that `qlrjax run` imports and a checkpoint written in the background after
every event, learns the first events of the official order, run 0, at width 1.0 and 128x128:
2,999 images, then three events of about 300, all 3000 replays in use, the reduced test set of 2,249
images tested after every event. Images are generated, since only their number and size matter. What
a whole session would add later, the cache of latents filled to its limit, is put there beforehand.
An event makes one pass instead of four: passes are a loop and take no memory.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from qlrjax import cli, files, latents, session
from qlrjax import settings as settings_file
from qlrjax.cli import run as cli_run
from qlrjax.runs import run as runs_run
from qlrjax.runs import saver
from qlrjax.settings import Settings
from qlrjax.streams import cut, nicv2, synthetic
from qlrjax.streams.settings import StreamSettings
from qlrjax.streams.stream import Stream
from qlrjax.training.protocol import Protocol

LIMIT_MB = 2000.0
TEST_SESSIONS = (3, 7, 10)


def generated_core50(resolution: int, run: int) -> Stream:
    """CORe50's classes, sessions and official NICv2-391 order over generated images."""
    source = synthetic.source(50, 11, 300, (resolution, resolution))
    pairs = nicv2.official_order(391, run)
    order = [[(where, item - 1) for where, item in event] for event in pairs]
    return cut.by_sessions(source, TEST_SESSIONS, order, reduced_test=True)


def measure(events: int, replays: int, latent_layer: int) -> dict[str, float]:
    """Learns the events in this process; resident peaks in MB (10**6 bytes)."""
    assert cli_run.main  # imported for its weight
    assert runs_run.run  # and so is this
    peaks: dict[str, float] = {"imports_mb": _peak_mb()}
    stream = generated_core50(128, run=0)
    session.open_stream = lambda *_: stream
    settings = Settings(
        latent_layer=latent_layer,
        replays=replays,
        bits=8,
        calibration_images=256,
        stream=StreamSettings(data="generated"),
        protocol=Protocol(first_epochs=1, epochs=1),
    )
    kept = latents.InMemory()
    work = session.prepare(settings, earlier=session.Earlier(cache=kept))
    peaks["prepared_mb"] = _peak_mb()
    # Later events' latents, as a session would hold them by then; negative keys are no image.
    size = work.test_latents[0].nbytes
    missing = (kept.limit_bytes - kept.bytes) // size
    kept.keep(np.arange(-missing, 0), np.ones((missing, size), np.uint8))
    state, records = session.start(work), []
    values = settings_file.to_dict(settings)
    with tempfile.TemporaryDirectory() as folder, saver.Saver(Path(folder), values) as saving:
        for event in range(events):
            begun = time.perf_counter()
            state, record = session.learn_next(work, state)
            records.append(record)
            saving.save(event + 1, state, records)
            peaks[f"event_{event}_mb"] = _peak_mb()
            peaks[f"event_{event}_seconds"] = round(time.perf_counter() - begun, 1)
            print(f"event {event}: {record['images']} images, peak {_peak_mb():.0f} MB", flush=True)
    peaks["replay_mb"] = state.learner.memory.bytes / 1e6
    peaks["cache_mb"] = kept.bytes / 1e6
    peaks["peak_mb"] = _peak_mb()
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=4)
    parser.add_argument("--replays", type=int, default=3000)
    parser.add_argument("--latent-layer", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("peak_memory.json"))
    arguments = parser.parse_args()
    # A fresh process, so that nothing but the session counts.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peaks = pool.apply(measure, (arguments.events, arguments.replays, arguments.latent_layer))
    peaks["limit_mb"] = LIMIT_MB
    files.write_atomic(arguments.out, json.dumps(peaks, indent=2) + "\n")
    verdict = "below" if peaks["peak_mb"] < LIMIT_MB else "NOT below"
    print(f"peak {peaks['peak_mb']:.0f} MB, {verdict} {LIMIT_MB:.0f} MB")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux gives KiB


if __name__ == "__main__":
    raise SystemExit(cli.answer("peak_memory", main))
