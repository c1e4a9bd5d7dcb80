"""The firmware's host build under sanitizers, and with saved states that were damaged."""

import shutil

import numpy as np
import pytest
from support import boards, firmware

pytestmark = boards.NEEDED


def events(twin, count):
    return [twin.random.integers(0, twin.network.classes - 1, size) for size in (17, 11)[:count]]


SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize(("compiler", "checks"), [("cc", SANITIZERS), ("clang", ("-O3",))])
def test_sanitizers_find_nothing(compiler, checks, tmp_path):
    """Events, a late class, predictions, saving and restoring, under ASan and UBSan; and clang."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs a C compiler named {compiler}")
    twin = firmware.Twin(cut=25, bits=5, size=(33, 39))
    twin.export(tmp_path, event_max=17)
    program = firmware.build_host(tmp_path, compiler, (*firmware.FLAGS, *checks))
    board = firmware.client().Learner.run(program, cwd=tmp_path)
    firmware.run_events(board, twin, events(twin, 2))
    for image in twin.images(np.full(17, 5)):
        assert board.observe(image.tobytes(), 5) == 0
    assert board.observe(bytes(33 * 39 * 3), 5) == -1  # full
    assert board.learn(late=True)[0] == 0
    state = board.dump()
    assert (board.save(), board.save(), board.restore()) == (0, 0, 0)
    assert board.dump() == state
    board.predict(bytes(33 * 39 * 3))
    board.quit()
    assert board.process.returncode == 0


def test_every_flipped_byte_is_refused_or_harmless(tmp_path):
    """200 tries: what is restored is the last state or the one before, whichever is whole."""
    twin = firmware.Twin(cut=27, bits=6, size=(33, 39))
    twin.export(tmp_path)
    program = firmware.build_host(tmp_path)
    board = firmware.client().Learner.run(program, cwd=tmp_path)
    states = []
    for labels in events(twin, 2):
        firmware.run_events(board, twin, [labels])
        assert board.save() == 0
        states.append(board.dump())
    board.quit()
    path, random = tmp_path / "state.bin", np.random.default_rng(7)
    whole, older = path.read_bytes(), 0
    # The slots' gaps behind the checksum are not part of a state: bytes of both states are flipped.
    used = 4 * 3 + sum(map(len, states[0])) + 4
    begins = (0, len(whole) - used)
    for _ in range(200):
        torn = bytearray(whole)
        torn[int(random.choice(begins) + random.integers(used))] ^= int(random.integers(1, 256))
        path.write_bytes(torn)
        board = firmware.client().Learner.run(program, cwd=tmp_path)
        assert board.restore() == 0
        found = board.dump()
        board.quit()
        assert found in states
        older += found == states[0]
    assert 60 < older < 140  # half of the flips hit the newer state
    path.write_bytes(bytes(len(whole)))
    board = firmware.client().Learner.run(program, cwd=tmp_path)
    assert board.restore() == -7
    assert board.info["event"] == 0
    board.quit()
