"""`make cluster-test`: a sweep on a real Ray cluster of two nodes on loopback, one of them killed.

Both nodes are processes of `ray start`, as on two machines that share a folder. The same sweep is
learned twice: undisturbed, and with one node killed (SIGKILL, all of its processes) while it works.
The tables have to be equal, byte by byte.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

try:
    import ray
except ImportError:
    ray = None

from qlrjax.lab import cluster, learned, sweep, sweepfile, table
from qlrjax.lab.pool import News
from qlrjax.runs import interrupt

TEXT = """
seeds = 3
[settings]
latent_layer = 25
weights = "random:1:0.25"
resolution = 32
calibration_images = 12
[settings.stream]
data = "synthetic:3x4x6"
[settings.protocol]
minibatch = 8
epochs = 100
[grid]
bits = [8, 5]
"""
SECONDS = 420
_MEMORY = 100 * 2**20


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A node, with all of its processes in a group of their own."""
    program = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    fixed = ["--node-ip-address=127.0.0.1", f"--object-store-memory={_MEMORY}"]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_MEMORY_MONITOR": "1"}
    environment |= {"JAX_PLATFORMS": "cpu", "RAY_worker_niceness": "0"}
    with log.open("wb") as output:
        return subprocess.Popen(
            [*program, *fixed, *words],
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


def processes(group: int) -> list[int]:
    """Processes of a session, whatever group they have made for themselves."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == group:
                found.append(int(entry.name))
    return found


def kill(node: subprocess.Popen[bytes]) -> int:
    """Kills a node at once; how many processes it had."""
    found = processes(node.pid)
    for number in found:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    node.wait()
    return len(found)


def wait_for_nodes(address: str, count: int) -> None:
    """Until so many nodes are there.

    Raises:
        TimeoutError: They are not, after two minutes.
    """
    assert ray is not None
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
            alive = sum(node["Alive"] for node in ray.nodes())
            ray.shutdown()
            if alive == count:
                return
        except (ConnectionError, RuntimeError):
            ray.shutdown()
        time.sleep(2)
    raise TimeoutError(f"there are not {count} nodes after two minutes")


def learn(address: str, folder: Path) -> sweep.Standing:
    """The sweep; says who finished what."""

    def heard(news: News, now: sweep.Standing) -> None:
        if news.kind == "done":
            assert news.result is not None
            worker = news.result["timing"]["worker"]
            print(f"{len(now.done)}/{len(now.tasks)} by {worker}", flush=True)

    stop = interrupt.Stop()
    wanted = sweepfile.parse(TEXT)
    return sweep.run(wanted, folder, cluster.runner(address, 1, 3), heard, stop)


def begun(folder: Path) -> int:
    """Sessions in the middle, with something saved; with one slot a node, two keep both at work."""
    saved = {path.parents[1].name for path in folder.glob(f"{learned.SESSIONS}/*/checkpoints/0*")}
    return sum(not (folder / learned.RESULTS / f"{name}.json").exists() for name in saved)


def disturb(folder: Path, node: subprocess.Popen[bytes], over: threading.Event) -> None:
    """Kills a node while it is at work, once a session has been finished.

    Sessions of both nodes are in the middle then, or, where they never are at once, one is and the
    other node is starting its own: of six, three are done at most.
    """
    while not over.wait(0.02):
        done = len(list((folder / learned.RESULTS).glob("*.json")))
        if done and (begun(folder) == 2 or (done == 3 and begun(folder))):
            print(f"killed the second node, {kill(node)} processes", flush=True)
            return


def main() -> int:
    """Starts the nodes, learns twice, compares."""
    if ray is None:
        print("cluster-test is left out: Ray is not installed and could not be")
        return 0
    port = free_port()
    address, over = f"127.0.0.1:{port}", threading.Event()
    with tempfile.TemporaryDirectory(prefix="ray-") as temporary:
        place = Path(temporary)
        words = ["--head", f"--port={port}", "--include-dashboard=false"]
        nodes = [start(words, place / "head.log")]
        try:
            wait_for_nodes(address, 1)
            nodes.append(start([f"--address={address}"], place / "second.log"))
            wait_for_nodes(address, 2)
            print(f"two nodes at {address}", flush=True)
            first = learn(address, place / "undisturbed")

            killer = threading.Thread(target=disturb, args=(place / "disturbed", nodes[1], over))
            killer.start()
            second = learn(address, place / "disturbed")
            killed = nodes[1].poll() is not None
        finally:
            over.set()
            for node in nodes:
                kill(node)
        workers = {result["timing"]["worker"] for result in first.done.values()}
        assert len(workers) == 2, f"undisturbed, only {workers} learned"
        assert killed, "the second node was never at work when something was finished"
        assert not second.missing, f"missing: {second.missing}, {second.failed}"
        tables = [(place / name / table.CSV).read_bytes() for name in ("undisturbed", "disturbed")]
        assert tables[0] == tables[1], "the tables differ"
        resumed = [r["timing"]["events_now"] for r in second.done.values()]
        print(f"equal tables of {len(second.done)} sessions; events learned at last: {resumed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
