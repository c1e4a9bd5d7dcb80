"""`make attack`: everything that can go wrong around a run, many times over, counted."""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from attack import damages, folders, images, imports, prey, processes, tally
from attack.prey import Prey
from attack.tally import Tally

Generator = np.random.Generator


def fuzz(count: int, seed: int) -> Tally:
    """Images for all decoders."""
    counted = Tally("fuzzed images")
    for outcome, what in images.attack(count, seed):
        counted.add(outcome, what)
    return counted


def attacks(size: float, seed: int) -> dict[str, Callable[[Prey, Generator], Tally]]:
    """Every kind of attack by its name; 1 is the whole size."""

    def of(count: int) -> int:
        return max(int(count * size), 4)

    return {
        "run": lambda p, g: damages.of_run(p, of(1200), g),
        "export": lambda p, g: damages.of_export(p, of(300), g),
        "frames": lambda p, g: damages.of_frames(p, of(250), g),
        "kernel": lambda p, g: damages.of_kernel(p, of(50), g),
        "device": lambda p, g: damages.of_device(p, of(200), g),
        "imports": lambda p, g: imports.attack(p, of(300), g),
        "images": lambda p, g: fuzz(of(20_000), seed),
        "links": lambda p, g: folders.links(p),
        "names": lambda p, g: folders.names(p, of(30), g),
        "kills": lambda p, g: processes.kills(p, of(66), g),
        "races": lambda p, g: processes.races(p, of(24), g),
        "limits": lambda p, g: processes.limits(p, g),
        "latents": lambda p, g: damages.of_latents(p.place, of(500), g),
    }


def main() -> int:
    """Prints the table; exit code 1 unless its last two columns are 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--size", type=float, default=1.0, help="share of the whole campaign")
    parser.add_argument("--only", nargs="*", help="kinds of attack; all by default")
    arguments = parser.parse_args()
    logging.getLogger("qlrjax").setLevel(logging.ERROR)
    kinds = attacks(arguments.size, arguments.seed)
    tallies = []
    with tempfile.TemporaryDirectory(prefix="qlrjax-attack-") as scratch:
        target = prey.make(Path(scratch))
        for number, (name, attack) in enumerate(kinds.items()):
            if arguments.only and name not in arguments.only:
                continue
            started = time.monotonic()
            counted = attack(target, np.random.default_rng([arguments.seed, number]))
            seconds = time.monotonic() - started
            print(f"{' '.join(counted.row)} in {seconds:.0f} s", file=sys.stderr, flush=True)
            for line in counted.told:
                print(line, file=sys.stderr, flush=True)
            tallies.append(counted)
    print(tally.table(tallies))
    failed = sum(one.counts[tally.SILENT] + one.counts[tally.TRACEBACK] for one in tallies)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
