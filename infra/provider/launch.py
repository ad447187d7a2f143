"""Becomes a supervised command: `python -I -S launch.py LAUNCH_FILE`, started by the supervisor or by a job runner.

The launch file (JSON, mode 0600) holds command, folder and environment, so that secrets are in no command line and in
no supervisor file. Before it becomes the command it asks the kernel to be killed with its parent, kills what an
earlier run left behind, and after several short runs in a row waits: that is the back-off for processes that crash
after they started. Standard library only, since this runs before each start.
"""

import json
import os
import sys
import time

_SHORT_RUNS = 3
"""So many starts within `_WINDOW` seconds are taken for a coincidence."""
_WINDOW = 120.0
_LONGEST_PAUSE = 30.0


def pause(starts: list[float], now: float) -> float:
    """Return how many seconds to wait before another start.

    Args:
        starts: Times of earlier starts, in seconds.
        now: The same clock now.
    """
    recent = sum(now - start < _WINDOW for start in starts)
    return 0.0 if recent < _SHORT_RUNS else min(2.0 ** (recent - _SHORT_RUNS), _LONGEST_PAUSE)


def _back_off(record: str) -> None:
    try:
        with open(record) as file:  # noqa: PTH123 - pathlib costs start-up time
            starts = [float(line) for line in file]
    except (OSError, ValueError):
        starts = []
    now = time.time()
    seconds = pause(starts, now)
    if seconds:
        sys.stderr.write(f"[blueprint] started {len(starts)} times lately, waiting {seconds:.0f} s\n")
        sys.stderr.flush()
        time.sleep(seconds)
    with open(record, "w") as file:  # noqa: PTH123
        file.writelines(f"{start}\n" for start in [*starts[-20:], time.time()])


def _die_with_parent() -> None:
    """Ask for SIGKILL when the parent dies. It survives exec, so it holds for the command too."""
    import ctypes
    import signal

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def main(path: str) -> None:
    """Become the command described by the file at `path`.

    The file has `command`, `directory`, `environment` (added to the inherited one), `mark` (of the process, or null),
    `starts` (file that records starts for the back-off, or null), `dieWithParent`, and `once` (remove the file).
    """
    with open(path) as file:  # noqa: PTH123
        launch = json.load(file)
    if launch["dieWithParent"]:
        _die_with_parent()
    if launch["once"]:
        os.unlink(path)  # noqa: PTH108 - it holds secrets, and nobody needs it again
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
    environment |= launch["environment"]
    if launch["mark"]:
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
        import marks  # type: ignore[import-not-found]  # a neighbour, outside of its package

        marks.sweep(f"{marks.PROCESS}={launch['mark']}")
        environment[marks.PROCESS] = launch["mark"]
    if launch["starts"]:
        _back_off(launch["starts"])
    command = launch["command"]
    try:
        os.chdir(launch["directory"])
        os.execvpe(command[0], command, environment)  # noqa: S606 - that is its purpose
    except OSError as error:
        what = launch["directory"] if error.filename == launch["directory"] else command[0]
        sys.stderr.write(f"[blueprint] cannot start: {what}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1])
