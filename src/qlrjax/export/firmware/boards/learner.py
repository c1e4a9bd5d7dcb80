#!/usr/bin/env python3
"""Talks to a learner on a board, in an emulator or on this machine: teaches it photos, asks it.

    learner.py [how to reach it] teach LABEL PHOTO...      observes the photos as class LABEL
                                 learn | late              learns what waits, as event or late class
                                 predict PHOTO...          prints class and logits
                                 save | restore | info

Several commands may follow one another, separated by "--". It is reached by one of:

    --run COMMAND     a program that speaks on its standard input and output: the host's build, or
                      an emulator whose serial line is there
    --port /dev/...   a serial port (needs pyserial)

Only photos need another package: Pillow.
"""

import argparse
import contextlib
import importlib
import os
import shlex
import signal
import struct
import subprocess
import sys
from array import array

STATUS = {
    0: "ok",
    -1: "the event buffer is full: learn first",
    -2: "no such class",
    -3: "nothing waits to be learned",
    -4: "the loss is not finite: restore",
    -5: "not one class that is new",
    -6: "the storage failed",
    -7: "no whole state of this firmware is stored",
}


class Learner:
    """One end of the serial line; see main.c for the other."""

    def __init__(self, reader, writer, starts=False):
        """`starts`: the program is just starting; what comes before its greeting may be lost."""
        self.reader, self.writer, self.process = reader, writer, None
        if starts:
            self.find_greeting()
        self.writer.write(b"I")
        self.writer.flush()
        self.find_greeting()
        words = struct.unpack("<12I", self.take(48))
        names = (
            "firmware",
            "height",
            "width",
            "channels",
            "classes",
            "latent",
            "slots",
            "replay_bytes",
            "event_max",
            "event",
            "filled",
            "state_bytes",
        )
        self.info = dict(zip(names, words, strict=True))

    @classmethod
    def run(cls, command, **options):
        """Starts a program that speaks the protocol."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            **options,
        )
        try:
            made = cls(process.stdout, process.stdin, starts=True)
        except BaseException:
            end(process)
            raise
        made.process = process
        return made

    def find_greeting(self):
        """Skips what comes before the program's greeting."""
        seen = b""
        while not seen.endswith(b"qlr\n"):
            seen += self.take(1)

    def ask(self, command, count):
        """Sends bytes; the answer of `count` bytes."""
        self.writer.write(command)
        self.writer.flush()
        return self.take(count)

    def take(self, count):
        """The next `count` bytes."""
        parts, left = [], count
        while left:
            part = self.reader.read(left)
            if not part:
                raise ConnectionError("the learner went away")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def status(self, command):
        """Sends bytes; the status that comes back."""
        return struct.unpack("<b", self.ask(command, 1))[0]

    def observe(self, image, label):
        """Bytes of one image of the network's size; the status."""
        return self.status(b"O" + struct.pack("<H", label) + bytes(image))

    def learn(self, late=False):
        """Status, steps, first and last loss."""
        return struct.unpack("<bIff", self.ask(b"C" if late else b"L", 13))

    def predict(self, image):
        """Likeliest learned class, and all logits."""
        answer = self.ask(b"P" + bytes(image), 2 + 4 * self.info["classes"])
        logits = array("f")
        logits.frombytes(answer[2:])
        return struct.unpack("<H", answer[:2])[0], logits

    def save(self):
        """Writes the state to the board's storage."""
        return self.status(b"S")

    def restore(self):
        """Reads the newest whole state back."""
        return self.status(b"R")

    def waiting(self, count):
        """Latents of `count` waiting images."""
        return self.ask(b"E", count * self.info["latent"])

    def dump(self):
        """The state and the replays, as they lie in memory."""
        state = self.ask(b"D", self.info["state_bytes"])
        return state, self.take(self.info["slots"] * self.info["replay_bytes"])

    def quit(self):
        """Ends the program."""
        self.writer.write(b"Q")
        self.writer.flush()
        if self.process:
            self.writer.close()
            self.process.wait(timeout=60)
            self.reader.close()


def end(process):
    """Ends a program that was started, and those that it has started: make's emulator, say."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def read_photo(path, info):
    """A photo at the network's size, as bytes."""
    try:
        from PIL import Image
    except ImportError as error:
        raise SystemExit("learner.py: photos need Pillow: pip install pillow") from error
    size = (info["width"], info["height"])
    return Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR).tobytes()


def obey(learner, words):
    """One command of the command line; 0 when it went well."""
    what, rest = words[0], words[1:]
    if what == "teach":
        for path in rest[1:]:
            status = learner.observe(read_photo(path, learner.info), int(rest[0]))
            print(f"{path}: {STATUS[status]}")
            if status:
                return 1
        return 0
    if what in ("learn", "late"):
        status, steps, first, last = learner.learn(what == "late")
        print(f"{STATUS[status]}: {steps} mini-batches, loss {first:.4f} to {last:.4f}")
        return int(status != 0)
    if what == "predict":
        for path in rest:
            best, logits = learner.predict(read_photo(path, learner.info))
            print(f"{path}: class {best}, logit {logits[best]:.3f}")
        return 0
    if what in ("save", "restore"):
        status = getattr(learner, what)()
        print(f"{what}: {STATUS[status]}")
        return int(status != 0)
    print("\n".join(f"{name}: {value}" for name, value in learner.info.items()))
    return 0


def main():
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--run", help="program that speaks on standard input and output")
    parser.add_argument("--port", help="serial port")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.run and not given.port:
        parser.error("say how to reach the learner: --run COMMAND or --port DEVICE")
    if given.run:
        learner = Learner.run(shlex.split(given.run))
    else:
        line = importlib.import_module("serial").Serial(given.port, 115200)
        learner = Learner(line, line)
    try:
        worst, command = 0, []
        for word in [*(given.command or ["info"]), "--"]:
            if word != "--":
                command.append(word)
            elif command:
                worst, command = max(worst, obey(learner, command)), []
        learner.quit()
    finally:
        if learner.process:
            end(learner.process)
    return worst


if __name__ == "__main__":
    sys.exit(main())
