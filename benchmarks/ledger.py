"""`mlops bench ledger`: durable appends and verification of the ledger beside plain SQLite, in one run on one disk.

Every append counts only once it is on the disk (write-ahead log, synchronous FULL, in all variants). Rounds are
interleaved and medians count, so that other work on the machine meets all of them alike; processor time, with that of
child processes, is told too, because it depends less on what else runs. Peers: one plain table with the same text, one
insert and commit a row, which has no chain, no columns to search by and no checks; and a file that is synced after each
line, the floor of the disk. Verification's peer reads all rows and hashes their text, no more.
"""

import argparse
import hashlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from policies.ledger.checkpoint import make_checkpoint
from policies.ledger.events import ReleaseStep
from policies.ledger.store import Ledger, open_engine
from policies.ledger.writer import GroupWriter
from policies.releases.keys import key_signer
from policies.releases.signing import public_key

PROJECT = Path(__file__).resolve().parents[1]
APPENDS_TARGET = 2_000
VERIFY_TARGET = 100_000
EVENT = ReleaseStep(
    person="controller",
    model="flight-delay",
    version="3",
    digest="sha256:" + "a" * 64,
    rollout="r1",
    step="weight",
    strategy="canary",
    weight=0.05,
    evidence={"requests": 1000, "errors": 3, "p99Ms": 12.5},
)
TEXT = json.dumps(EVENT.to_json())


@dataclass(frozen=True)
class Variant:
    """One way to write `count` events; returns seconds."""

    name: str
    count: int
    run: Callable[[Path, int], float]


def main() -> None:
    """Measure and print a table, or JSON with `--json`."""
    parser = argparse.ArgumentParser(prog="mlops bench ledger", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each; medians count")
    parser.add_argument("--entries", type=int, default=200_000, help="size of the ledger that is verified")
    parser.add_argument("--directory", type=Path, default=None, help="where to write: the disk that is measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        results = {
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "appends": appends(Path(directory), options.rounds),
            "verify": verification(Path(directory), options.entries, options.rounds),
        }
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


def show(results: dict[str, Any]) -> None:
    """Print the results for people."""
    print(f"{results['cores']} cores, load {results['load']} at the end\n")
    print(f"{'durable appends':40}  {'a second':>9}  {'best':>9}  {'ratio':>6}  {'cpu µs each':>11}")
    for name, one in results["appends"].items():
        print(
            f"{name:40}  {one['perSecond']:9,.0f}  {one['best']:9,.0f}  {one['ratio']:6.2f}"
            f"  {one['cpuMicroseconds']:11,.0f}"
        )
    one = results["verify"]
    print(f"\nverify {one['entries']:,} entries, {one['checkpoints']} checkpoints: {one['perSecond']:,} a second")
    print(f"(best {one['best']:,}; {one['perCpuSecond']:,} a second of processor time,", end=" ")
    print(f"{one['cpuMicroseconds']} µs an entry;", end=" ")
    print(f"peer that reads and hashes {one['peerPerSecond']:,}; ratio {one['ratio']})")
    reached = max(value["perSecond"] for name, value in results["appends"].items() if "ledger" in name)
    print(f"\ntargets: {APPENDS_TARGET:,} durable appends a second {_word(reached >= APPENDS_TARGET)},", end=" ")
    print(f"{VERIFY_TARGET:,} verified a second {_word(one['perSecond'] >= VERIFY_TARGET)}")


def _word(reached: bool) -> str:
    return "reached" if reached else "missed"


def appends(directory: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Measure all ways to write, interleaved; rates in events a second."""
    rates: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    costs: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    for number in range(rounds):
        for variant in VARIANTS:
            folder = directory / f"{number}-{len(rates[variant.name])}-{VARIANTS.index(variant)}"
            folder.mkdir()
            begun = processor_seconds()
            rates[variant.name].append(variant.count / variant.run(folder, variant.count))
            costs[variant.name].append(1e6 * (processor_seconds() - begun) / variant.count)
    base = statistics.median(rates[PEER])
    return {
        name: {
            "perSecond": round(statistics.median(values), 1),
            "best": round(max(values), 1),
            "ratio": round(statistics.median(values) / base, 2),
            "cpuMicroseconds": round(statistics.median(costs[name]), 1),
        }
        for name, values in rates.items()
    }


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def verification(directory: Path, count: int, rounds: int) -> dict[str, float | bool]:
    """Measure verification with a checkpoint every thousand entries; rates in entries a second."""
    path = directory / "verified.db"
    ledger = Ledger(open_engine(f"sqlite:///{path}"))
    key = Ed25519PrivateKey.generate()
    checkpoints, before = [], 0
    for _ in range(0, count, 1000):
        head = ledger.append([EVENT] * 1000)[-1].head
        checkpoints.append(make_checkpoint(ledger.id, head, datetime.now(UTC), before, key_signer(key)))
        before = head.seq
    ours: list[float] = []
    ours_cpu: list[float] = []
    peer: list[float] = []
    ok = True
    total = ledger.head().seq
    for _ in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        ok = ledger.verify(checkpoints, [public_key(key)]).ok and ok
        ours.append(total / (time.perf_counter() - start))
        ours_cpu.append(total / (time.process_time() - cpu))
        start = time.perf_counter()
        with sqlite3.connect(path) as connection:
            for row in connection.execute("SELECT seq, what, previous, hash FROM ledger_entries ORDER BY seq"):
                hashlib.sha256(row[1].encode()).hexdigest()
        connection.close()
        peer.append(total / (time.perf_counter() - start))
    ledger.engine.dispose()
    return {
        "ok": ok,
        "entries": total,
        "checkpoints": len(checkpoints),
        "perSecond": round(statistics.median(ours)),
        "best": round(max(ours)),
        "perCpuSecond": round(statistics.median(ours_cpu)),
        "cpuMicroseconds": round(1e6 / statistics.median(ours_cpu), 1),
        "peerPerSecond": round(statistics.median(peer)),
        "ratio": round(statistics.median(ours) / statistics.median(peer), 2),
    }


def open_ledger(folder: Path) -> Ledger:
    """A new ledger."""
    return Ledger(open_engine(f"sqlite:///{folder}/ledger.db"))


def one_by_one(folder: Path, count: int) -> float:
    """One writer, one commit an event."""
    ledger = open_ledger(folder)
    start = time.perf_counter()
    for _ in range(count):
        ledger.append([EVENT])
    seconds = time.perf_counter() - start
    ledger.engine.dispose()
    return seconds


def batches(folder: Path, count: int) -> float:
    """One writer, a hundred events a commit."""
    ledger = open_ledger(folder)
    start = time.perf_counter()
    for _ in range(count // 100):
        ledger.append([EVENT] * 100)
    seconds = time.perf_counter() - start
    ledger.engine.dispose()
    return seconds


def grouped(threads: int) -> Callable[[Path, int], float]:
    """Many threads of one process; each waits for its own event to be durable before it writes the next."""

    def run(folder: Path, count: int) -> float:
        ledger = open_ledger(folder)
        writer = GroupWriter(ledger)

        def write() -> None:
            for _ in range(count // threads):
                writer.append([EVENT])

        seconds = _together([threading.Thread(target=write) for _ in range(threads)])
        assert ledger.head().seq == count // threads * threads
        ledger.engine.dispose()
        return seconds

    return run


WRITER = """
import sys, threading
from pathlib import Path
from benchmarks.ledger import EVENT, open_ledger
from policies.ledger.writer import GroupWriter
writer = GroupWriter(open_ledger(Path(sys.argv[1])))
def write():
    for _ in range(int(sys.argv[2]) // 16):
        writer.append([EVENT])
print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=write) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def processes(number: int) -> Callable[[Path, int], float]:
    """Several processes with sixteen threads each; every thread waits for its own event."""

    def run(folder: Path, count: int) -> float:
        open_ledger(folder).engine.dispose()
        command = [sys.executable, "-c", WRITER, str(folder), str(count // number)]
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) for _ in range(number)
        ]
        try:
            for process in started:
                assert process.stdout is not None
                process.stdout.readline()
            start = time.perf_counter()
            for process in started:
                assert process.stdin is not None
                process.stdin.write(b"go\n")
                process.stdin.flush()
            for process in started:
                process.wait(300)
            seconds = time.perf_counter() - start
        finally:
            for process in started:
                process.kill()
                process.communicate()
        ledger = open_ledger(folder)
        assert ledger.head().seq == count
        ledger.engine.dispose()
        return seconds

    return run


def plain(folder: Path, count: int) -> float:
    """Peer: one plain table, one insert and commit a row."""
    connection = _plain(folder)
    start = time.perf_counter()
    for _ in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO events (text) VALUES (?)", (TEXT,))
        connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return seconds


def synced_file(folder: Path, count: int) -> float:
    """Peer: a line in a file, then fdatasync."""
    with (folder / "events.jsonl").open("ab", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(count):
            file.write(TEXT.encode() + b"\n")
            os.fdatasync(file.fileno())
        return time.perf_counter() - start


def _plain(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, text TEXT)")
    return connection


def _together(threads: list[threading.Thread]) -> float:
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


PEER = "peer: plain SQLite, a commit a row"
VARIANTS = (
    Variant(PEER, 300, plain),
    Variant("peer: file, fdatasync a line", 300, synced_file),
    Variant("ledger, 1 writer, a commit an event", 300, one_by_one),
    Variant("ledger, 8 threads, group commit", 1600, grouped(8)),
    Variant("ledger, 32 threads, group commit", 3200, grouped(32)),
    Variant("ledger, 64 threads, group commit", 6400, grouped(64)),
    Variant("ledger, 2 processes of 16 threads", 3200, processes(2)),
    Variant("ledger, 1 writer, 100 events a commit", 5000, batches),
)


if __name__ == "__main__":
    main()
