"""A PostgreSQL server of the test run's own, from whatever binaries the machine has; the database tests run on it too.

`MLOPS_TEST_POSTGRES` names a database to use instead: an SQLAlchemy address, whose tables the tests drop.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import sqlalchemy as sa

ADDRESS = "MLOPS_TEST_POSTGRES"
_DEBIAN = Path("/usr/lib/postgresql")
_UNPRIVILEGED = "nobody"
"""Who the server runs as where the tests are root's: PostgreSQL refuses to be root's."""


@dataclass
class Server:
    """A server that listens on a socket in its own folder and nowhere else."""

    binaries: Path
    folder: Path

    @property
    def address(self) -> str:
        """The address of its only database, for SQLAlchemy."""
        return f"postgresql+psycopg://test@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it, also after `kill`; returns when it answers.

        Raises:
            AssertionError: it did not answer in time; its log says why.
        """
        # What is tried is not the disk's durability: without fsync a file system's speed is no part of the tests.
        options = ["-F", "-c", "listen_addresses=", "-k", str(self.folder)]
        # A test run that is killed takes its server along.
        bound = ["setpriv", "--pdeathsig", "KILL", "--"]
        command = [*bound, str(self.binaries / "postgres"), "-D", str(self.folder / "data"), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=_user(), cwd=self.folder)
        deadline = time.monotonic() + 120
        while not self._answers():
            ended = self._process.poll() is not None
            assert not ended, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as `kill -9` does, with the processes that serve its connections."""
        family = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(family[1:])

    def _answers(self) -> bool:
        engine = sa.create_engine(self.address, poolclass=sa.NullPool)
        try:
            with engine.connect():
                return True
        except sa.exc.OperationalError:
            return False


def binaries() -> Path | None:
    """Where `initdb` and `postgres` are: on the path, or the newest ones where Debian keeps them."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    if _DEBIAN.is_dir():
        versions = [folder for folder in _DEBIAN.iterdir() if folder.name.isdigit()]
        folders += [folder / "bin" for folder in sorted(versions, key=lambda one: int(one.name), reverse=True)]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextlib.contextmanager
def server(where: Path) -> Iterator[Server]:
    """A new, empty server, until the block ends.

    Args:
        where: folder of the binaries.
    """
    # Not below pytest's own folder, which only its owner may enter, and short, as the paths of sockets must be.
    folder = Path(tempfile.mkdtemp(prefix="mlops-postgres-", dir="/tmp"))
    try:
        if (user := _user()) is not None:
            shutil.chown(folder, user)
        initialise = ["-D", str(folder / "data"), "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [str(where / "initdb"), *initialise], user=user, cwd=folder, check=True, capture_output=True, text=True
        )
        running = Server(where, folder)
        running.start()
        try:
            yield running
        finally:
            running.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str | None:
    return _UNPRIVILEGED if os.geteuid() == 0 else None
