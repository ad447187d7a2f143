"""Where the files of an environment lie.

An environment keeps everything below one folder, its *home* (`<project>/.mlops/stacks/<stack>`). Only Unix sockets
are elsewhere, since the kernel allows 107 bytes for their path. Components and the `blueprint` provider both need these
places, so they are named here and nowhere else. Pure: nothing is created or read.
"""

import hashlib
import os.path


def home_hash(home: str) -> str:
    """Return ten hexadecimal digits that identify `home` on this machine: in socket folders and process marks."""
    return hashlib.sha256(os.path.normpath(home).encode()).hexdigest()[:10]


def short_directory(home: str) -> str:
    """Return the private folder (mode 0700) for the sockets and temporary files of the environment at `home`.

    The provider creates it with the first `Process` and removes it with the last one.
    """
    return f"/tmp/mlops-{home_hash(home)}"  # noqa: S108 - made with mode 0700 and checked for its owner


def data_directory(home: str) -> str:
    """Return the folder whose content outlives the environment's processes: registry, features, captures, jobs, …."""
    return os.path.join(home, "data")  # noqa: PTH118 - plain strings go into resource inputs


def log_file(home: str, process: str) -> str:
    """Return the log file of a supervised process (standard output and error together)."""
    return os.path.join(home, "log", f"{process}.log")  # noqa: PTH118


def run_directory(home: str) -> str:
    """Return the folder of the supervisor's files, which goes when the last process goes."""
    return os.path.join(home, "run")  # noqa: PTH118


def process_file(home: str, process: str, name: str) -> str:
    """Return where the entry `name` of a process's `files` is written before the process starts (mode 0600)."""
    return os.path.join(run_directory(home), "files", process, name)  # noqa: PTH118


def job_directory(home: str, job: str) -> str:
    """Return the folder that holds one folder per key of a job, each with its `result.json`."""
    return os.path.join(data_directory(home), "jobs", job)  # noqa: PTH118
