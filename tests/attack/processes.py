"""Commands in processes of their own: killed at any moment, held to limits, against each other."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attack import damages
from attack.prey import READ, Prey
from attack.tally import CAUGHT, HARMLESS, SILENT, TRACEBACK, Answer, Tally, call, patience
from support import tiny

from qlrjax.streams import core50

Generator = np.random.Generator
ROOT = Path(__file__).resolve().parents[2]


def start(words: Sequence[object], limit: tuple[int, int] | None = None) -> subprocess.Popen[str]:
    """A command; a limit of the system is set after Python has started."""
    script = "import sys; from qlrjax import cli; sys.exit(cli.main(sys.argv[1:]))"
    if limit is not None:
        script = f"import resource; resource.setrlimit({limit[0]}, {(limit[1],) * 2}); {script}"
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "hw")])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **pipes)


def finish(process: subprocess.Popen[str]) -> Answer:
    """What came of it."""
    try:
        out, err = process.communicate(timeout=patience())
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Answer(1, "", "", "it took too long")
    failure = err if "Traceback" in err or process.returncode not in (0, 2) else ""
    return Answer(process.returncode, out, err, failure)


def commands(prey: Prey, run: Path) -> dict[str, tuple[object, ...]]:
    """Every command that writes, by a name for the report."""
    out = prey.place / "killed.out"
    frames = ("--data", f"core50:{prey.place / 'core'}", "--data-dir", prey.place / "made")
    return {
        "run, new": ("run", "--out", prey.place / "new", *tiny.WORDS),
        "run, goes on": ("run", "--out", run, "--no-contrast"),
        "run --fresh": ("run", "--out", run, *tiny.WORDS, "--fresh"),
        "learn": ("learn", run, prey.photos, "--label", "mug"),
        "classes rename": ("classes", run, "rename", "class 0", "cup"),
        "classes forget": ("classes", run, "forget", "class 0"),
        "export state": ("export", run, "--format", "state", "--out", out),
        "export npz": ("export", run, "--format", "npz", "--out", out),
        "export onnx": ("export", run, "--format", "onnx", "--out", out),
        "import": ("import", prey.export, prey.place / "new"),
        "prepared frames": (
            *("run", "--out", prey.place / "new", *tiny.WORDS, *frames),
            *("--first-classes", "1"),
        ),
    }


def interrupt(process: subprocess.Popen[str], seconds: float, generator: Generator) -> bool:
    """Stops it, lets it go on, kills it; False if it had ended before."""
    moments = np.sort(generator.uniform(0, seconds, 2))
    try:
        process.wait(moments[0])
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        process.send_signal(signal.SIGCONT)
    try:
        process.wait(moments[1] - moments[0])
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    process.communicate()
    return False


def kills(prey: Prey, count: int, generator: Generator) -> Tally:
    """Every command in turn, killed at a random moment; then the run is asked and gone on with."""
    tally = Tally("kills, with SIGSTOP and SIGCONT")
    if not (prey.place / "core").exists():
        damages.frames(prey.place / "core")
    names = list(commands(prey, prey.run))
    seconds: dict[str, float] = {}
    turn = done = 0
    while done < count:
        name = names[turn % len(names)]
        turn += 1
        run, new, made = prey.copy(), prey.place / "new", prey.place / "made"
        for place in (new, made):
            shutil.rmtree(place, ignore_errors=True)
        if name == "run, goes on":
            shutil.rmtree(run / "checkpoints/00000009")
        (prey.place / "killed.out").unlink(missing_ok=True)
        words = commands(prey, run)[name]
        if name not in seconds:  # how long it takes, so that a kill falls into it
            began = time.monotonic()
            finish(start(words))
            seconds[name] = time.monotonic() - began
            continue
        began = time.monotonic()
        if not interrupt(start(words), seconds[name], generator):
            continue
        moment = f"{name} after {time.monotonic() - began:.2f} s"
        outcome, why = after_kill(prey, name, words)
        tally.add(outcome, f"{moment}: {why}")
        done += 1
    return tally


def after_kill(prey: Prey, name: str, words: Sequence[object]) -> tuple[str, str]:
    """The same command goes well now, and leaves what it leaves when nobody kills it.

    Returns:
        The outcome, and what was wrong, if anything was.
    """
    run, new, out = prey.place / "copy", prey.place / "new", prey.place / "killed.out"
    if out.exists():
        return after_export(words, out)
    answers = []
    taught = name.startswith("classes") or name == "learn"
    if taught:
        asked = prey.ask(run)
        changed = len(asked.out) > 0 and asked.out != prey.answers
        answers += [asked, call("classes", run, "undo")] if changed else [asked]
    done = call(*words)
    target = new if name in ("run, new", "import", "prepared frames") else run
    answers += [call("classes", run, "undo")] if taught else []
    answers.append(prey.go_on(target))
    # An import that was whole when it was killed is refused, and goes on.
    if not (name == "import" and done.refused and "holds a run already" in done.err):
        answers.append(done)
    for outcome, wrong in (
        (TRACEBACK, [answer.failure for answer in answers if answer.failure]),
        (SILENT, [answer.err for answer in answers if answer.code]),
        (SILENT, orphans(target)),
    ):
        if wrong:
            return outcome, " | ".join(text[-500:] for text in wrong)
    return after_frames(prey) if name == "prepared frames" else compared(prey, target, taught)


def after_export(words: Sequence[object], out: Path) -> tuple[str, str]:
    """A file that is there is the whole export."""
    again = out.with_name("again.out")
    done = call(*words[:-2], "--out", again, "--force")
    if done.failure or done.code:
        return (TRACEBACK if done.failure else SILENT), done.failure or done.err
    same = out.read_bytes() == again.read_bytes()
    return (HARMLESS, "") if same else (SILENT, "the export is not whole")


def after_frames(prey: Prey) -> tuple[str, str]:
    """Prepared frames are those that are prepared anew."""
    root = prey.place / "core"
    whole = core50.source(root, (32, 32), prey.place / "made").read(np.arange(24))
    again = core50.source(root, (32, 32), prey.place / "remade").read(np.arange(24))
    return (HARMLESS, "") if (whole == again).all() else (SILENT, "other frames")


def compared(prey: Prey, target: Path, taught: bool) -> tuple[str, str]:
    """A run has the files and gives the answers of one that was left alone."""
    asked = prey.ask(target)
    read = [name for name in READ if not taught or name not in ("events.jsonl", "summary.json")]
    wrong = [name for name in read if (target / name).read_bytes() != prey.files[name]]
    wrong += [] if asked.out == prey.answers else [f"answers: {asked.failure or asked.err}"]
    return (SILENT, f"other {', '.join(wrong)}") if wrong else (HARMLESS, "")


def orphans(run: Path) -> list[str]:
    """What a killed process left and the next one did not sweep."""
    names = [path.name for path in run.rglob(".*")]
    return [name for name in names if name.startswith((".trash-", ".draft-")) or ".tmp" in name]


def limits(prey: Prey, generator: Generator) -> Tally:
    """Few descriptors, small files, little memory: a sentence, or it works."""
    tally = Tally("limits of the system")
    ways = [(resource.RLIMIT_NOFILE, value) for value in (16, 24, 32, 48, 64)]
    ways += [(resource.RLIMIT_FSIZE, value) for value in (0, 100, 5000, 60_000)]
    gigabytes = generator.uniform(1.0, 6.0, 6)
    ways += [(resource.RLIMIT_AS, int(value * 1e9)) for value in gigabytes]
    for way in ways:
        run, new = prey.copy(), prey.place / "new"
        shutil.rmtree(new, ignore_errors=True)
        for words in (
            ("learn", run, prey.photos, "--label", "mug"),
            ("predict", run, prey.photos),
            ("run", "--out", new, *tiny.WORDS),
        ):
            done = finish(start(words, way))
            what = f"{words[0]} under {way}: {done.failure[-300:]}"
            if done.failure:
                tally.add(TRACEBACK, what)
            elif done.refused:
                tally.add(CAUGHT, what)
            else:
                tally.add(HARMLESS, what)
        again = prey.go_on(run)
        tally.add(HARMLESS if again.code == 0 else SILENT, f"goes on after {way}: {again.err}")
    return tally


def races(prey: Prey, count: int, generator: Generator) -> Tally:
    """Two commands at once on one folder: one of them, or both one after the other."""
    tally = Tally("races of two")
    new = prey.place / "new"
    for turn in range(count):
        run = prey.copy()
        shutil.rmtree(new, ignore_errors=True)
        pairs = (
            (("run", "--out", new, *tiny.WORDS),) * 2,
            tuple(("learn", run, prey.photos, "--label", label) for label in ("mug", "cup")),
            (("import", prey.export, new),) * 2,
            (("run", "--out", run, *tiny.WORDS, "--fresh"), ("predict", run, prey.photos)),
            (("learn", run, prey.photos, "--label", "mug"), ("predict", run, prey.photos)),
            (("run", "--out", run, *tiny.WORDS, "--fresh"), ("classes", run, "forget", "class 0")),
        )
        pair = pairs[turn % len(pairs)]
        first = start(pair[0])
        time.sleep(float(generator.uniform(0, 3)))
        second = start(pair[1])
        answers = [finish(first), finish(second)]
        what = f"{pair[0][0]} and {pair[1][0]}: {[answer.err[-300:] for answer in answers]}"
        if any(answer.failure for answer in answers):
            tally.add(TRACEBACK, what)
            continue
        target = new if new.exists() else run
        after = prey.go_on(target)
        if all(answer.code for answer in answers) or after.code != 0 or "damaged" in after.err:
            tally.add(SILENT, f"{what}, then {after.err}")
        else:
            tally.add(CAUGHT if any(answer.refused for answer in answers) else HARMLESS, what)
    return tally
