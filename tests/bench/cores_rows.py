"""One core beside two: two processes, one of them confined to one core, that work in turn.

XLA and the C kernel size their threads when they start, so each number of cores is a process; this
module is theirs, too: `python -m bench.cores_rows` answers every name of a call with its seconds.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from bench.turns import CORES, figure, markdown, ratio, rounds, times_text

NAMES = ("frozen stage to l = 19, 64 images", "product, 1536", "event at l = 25", "event at l = 19")


def measure() -> list[dict]:
    """A row for every call; none where there is one core only."""
    if CORES < 2:
        return []
    workers = [_worker("0"), _worker("0,1")]
    for worker in workers:
        _answer(worker)
    rows = []
    for name in NAMES:
        seconds = np.array(
            [[_ask(worker, name) for worker in workers] for _ in range(rounds(7) + 1)]
        )[1:]
        medians = [figure(1e3 * value) for value in np.median(seconds, axis=0)]
        rows.append({"call": name, "ms": medians, "two / one": ratio(seconds, 0, own=1)})
    for worker in workers:
        worker.communicate("\n")
    return rows


def _worker(cores: str) -> subprocess.Popen[str]:
    words = ["taskset", "-c", cores, sys.executable, "-m", "bench.cores_rows"]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(worker: subprocess.Popen[str], name: str) -> float:
    assert worker.stdin is not None
    worker.stdin.write(f"{name}\n")
    worker.stdin.flush()
    return float(_answer(worker))


def _answer(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a process of the bench ended before its time")
    return line.strip()


def _calls() -> dict[str, Callable]:
    import jax
    import jax.numpy as jnp
    from bench import training_rows

    from qlrjax import weights
    from qlrjax.integer import native, quantize
    from qlrjax.network import Cut
    from qlrjax.streams import builtin

    images = builtin.source((128, 128)).read(np.arange(64))
    network, parameters = weights.load("builtin", 10, 128)
    prepared = native.prepare(quantize.quantize(Cut(network, 19), parameters, images[:8]).stage)
    if prepared is None:
        raise SystemExit("there is no C kernel here")
    given = jnp.asarray(images)
    calls = (
        lambda: jax.block_until_ready(native.apply(prepared, given)),
        training_rows.product(1536),
        training_rows.event(training_rows.Case(25, epochs=2)),
        training_rows.event(training_rows.Case(19, epochs=1)),
    )
    return dict(zip(NAMES, calls, strict=True))


def serve() -> None:
    """Answers names with seconds until an empty line."""
    calls = _calls()
    print("ready", flush=True)
    for line in sys.stdin:
        if not line.strip():
            return
        call = calls[line.strip()]
        call()  # wakes its threads up
        started = time.perf_counter()
        call()
        print(time.perf_counter() - started, flush=True)


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    cells = [
        [row["call"], *(f"{value:.1f}" for value in row["ms"]), times_text(row["two / one"])]
        for row in rows
    ]
    return markdown(("what", "ms, one core", "ms, two", "times as fast"), cells)


if __name__ == "__main__":
    serve()
