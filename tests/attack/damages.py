"""Damage to every file of a run's folder, of caches, of an export and of a device's state."""

import shutil
from pathlib import Path

import numpy as np
from attack import device
from attack.prey import Prey, judge
from attack.tally import CAUGHT, HARMLESS, SILENT, TRACEBACK, Tally, call, limit
from PIL import Image

from qlrjax import caches, latents
from qlrjax.native import build
from qlrjax.streams import core50

KINDS = ("flip", "flip", "flip", "zero", "cut", "longer", "empty", "gone", "shuffle", "foreign")


def wreck(path: Path, generator: np.random.Generator) -> str:
    """Damages a file and says how."""
    data = bytearray(path.read_bytes())
    kind = str(generator.choice(KINDS)) if data else "longer"
    first = int(generator.integers(max(len(data), 1)))
    last = min(first + int(generator.integers(1, 400)), len(data))
    match kind:
        case "flip":
            data[first] ^= 1 << int(generator.integers(8))
        case "zero":
            data[first:last] = bytes(last - first)
        case "cut":
            del data[first:]
        case "longer":
            data += generator.bytes(int(generator.integers(1, 300)))
        case "empty":
            data.clear()
        case "shuffle":
            data[first:last] = bytes(generator.permutation(np.frombuffer(data[first:last], "u1")))
        case "foreign":
            data[:] = generator.bytes(len(data))
    path.unlink()
    if kind != "gone":
        path.write_bytes(data)
    return f"{path.name}: {kind} at {first}"


def of_run(prey: Prey, count: int, generator: np.random.Generator) -> Tally:
    """Half of the damages go to a file, half to a byte, of the run's folder."""
    tally = Tally("damage to a run's folder")
    names = sorted(path.relative_to(prey.run) for path in prey.run.rglob("*") if path.is_file())
    sizes = np.array([(prey.run / name).stat().st_size for name in names], float)
    for turn in range(count):
        run = prey.copy()
        odds = sizes / sizes.sum() if turn % 2 else None
        name = names[int(generator.choice(len(names), p=odds))]
        what = wreck(run / name, generator)
        # Going on takes longer than asking; checkpoints are damaged most often.
        goes_on = name.parts[0] != "checkpoints" or turn % 4 == 0
        tally.add(judge(prey, run, goes_on), f"{name}: {what}")
    return tally


def of_export(prey: Prey, count: int, generator: np.random.Generator) -> Tally:
    """What is imported has to say what the run says."""
    tally = Tally("damage to an export")
    file, run = prey.place / "broken.npz", prey.place / "imported"
    for _ in range(count):
        shutil.copy(prey.export, file)
        what = wreck(file, generator)
        done = call("import", file, run)
        if done.failure:
            tally.add(TRACEBACK, what)
        elif done.refused:
            tally.add(SILENT if run.exists() else CAUGHT, what)
        else:
            tally.add(judge(prey, run, goes_on=False), what)
        shutil.rmtree(run, ignore_errors=True)
    return tally


def frames(root: Path) -> Path:
    """A little data in CORe50's layout."""
    generator = np.random.default_rng(1)
    for session in (1, 2, 3):
        for item in (1, 2):
            place = root / f"s{session}" / f"o{item}"
            place.mkdir(parents=True)
            for number in range(4):
                pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                name = f"C_{session:02d}_{item:02d}_{number:03d}.png"
                Image.fromarray(pixels).save(place / name)
    return root


def of_frames(prey: Prey, count: int, generator: np.random.Generator) -> Tally:
    """Pixels read through the prepared array are those of the images, or the array is refused."""
    tally = Tally("damage to prepared frames")
    root, whole, copy = frames(prey.place / "core"), prey.place / "whole", prey.place / "frames"
    order = np.arange(24)
    expected = core50.source(root, (16, 16), whole).read(order)
    for _ in range(count):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        files = sorted(path for path in copy.iterdir() if path.suffix != ".lock")
        before = [path.stat().st_ino for path in files]
        what = wreck(files[int(generator.integers(len(files)))], generator)
        try:
            with limit():
                pixels = core50.source(root, (16, 16), copy).read(order)
        except ValueError:
            tally.add(CAUGHT, what)
            continue
        except Exception as error:
            tally.add(TRACEBACK, f"{what}: {error!r}")
            continue
        made = [path.stat().st_ino for path in files] != before
        same = bool((pixels == expected).all())
        tally.add(SILENT if not same else CAUGHT if made else HARMLESS, what)
    return tally


def of_latents(place: Path, count: int, generator: np.random.Generator) -> Tally:
    """A latent read from the store is the one that was kept, or it is not there."""
    tally = Tally("damage to kept latents")
    kept = generator.integers(0, 256, (40, 2, 2, 64), dtype=np.uint8)
    order, path = np.arange(len(kept)), place / "one.latents"
    for _ in range(count):
        path.unlink(missing_ok=True)
        store = latents.OnDisk(path, b"of one stage and source")
        store.keep(order, kept)
        what = wreck(path, generator)
        out = np.zeros_like(kept)
        try:
            found = store.find(order, out)
        except Exception as error:
            tally.add(TRACEBACK, f"{what}: {error!r}")
            continue
        same = bool((out[found] == kept[found]).all())
        tally.add(SILENT if not same else HARMLESS if found.all() else CAUGHT, what)
    return tally


def of_kernel(prey: Prey, count: int, generator: np.random.Generator) -> Tally:
    """A damaged library is not loaded."""
    tally = Tally("damage to the compiled kernel")
    folder = caches.folder("native")
    homes = [path for path in folder.iterdir() if build._is_whole(path)] if folder else []
    for _ in range(count if homes else 0):
        copy = prey.place / "kernel"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(homes[0], copy)
        files = sorted(copy.iterdir())
        path = files[int(generator.integers(len(files)))]
        before = path.read_bytes()
        what = wreck(path, generator)
        same = path.exists() and path.read_bytes() == before
        believed = build._is_whole(copy)
        tally.add(HARMLESS if same else SILENT if believed else CAUGHT, what)
    return tally


def of_device(prey: Prey, count: int, generator: np.random.Generator) -> Tally:
    """A device goes on from one of its two saved states, whole, or says that it has none."""
    tally = Tally("damage to a device's state")
    board = device.make(prey.place / "device")
    for _ in range(count if board else 0):
        assert board is not None
        place = board.copy()
        what = wreck(place, generator)
        tally.add(board.judge(), what)
    return tally
