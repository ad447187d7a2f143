"""Makes the project's Python environment: `.mlops/venv`, with exactly what `requirements.lock` names.

The launcher `mlops` runs it when the environment is missing or the lock or the code changed since. It uses the
standard library only, since nothing else is there yet. What it does is cheap to repeat: an interrupted installation
goes on where it was, two at once wait for each other, and nothing is done twice for the same lock.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OWN_CODE = ("infra", "components", "training", "serving", "policies")
"""Packages of this project: imported from the project's folder and compiled here."""


class BootstrapError(Exception):
    """A reason, for people, why the environment can't be made, with what to do."""


def say(message: str) -> None:
    """Tell the person; standard output belongs to the command that follows."""
    sys.stderr.write(f"mlops: {message}\n")
    sys.stderr.flush()


class Environment:
    """The virtual environment of one project folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / ".mlops"
        self.venv = self.state / "venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / ".mlops-ready"
        self.unfinished = self.venv / ".mlops-unfinished"
        self.lock = root / "requirements.lock"
        self.installer_lock = root / "infra" / "engine" / "bootstrap.lock"

    def key(self) -> str:
        """Return what the installed packages depend on: both locks, this project's folder and the Python."""
        digest = hashlib.sha256()
        for part in (self.lock, self.installer_lock):
            digest.update(part.read_bytes())
        digest.update(f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}".encode())
        return digest.hexdigest()

    def installed_key(self) -> str | None:
        """Return the key of the last finished installation, or None."""
        with contextlib.suppress(OSError):
            made_for, key, *_ = [*self.stamp.read_text().splitlines(), "", ""]
            if made_for == str(self.root):
                return key
        return None

    def write_stamp(self, key: str, began: float) -> None:
        """Record a finished installation, dated at its beginning so that later changes are seen."""
        draft = self.stamp.with_suffix(".draft")
        draft.write_text(f"{self.root}\n{key}\n")
        # A file dated in the future would otherwise count as changed at every start.
        os.utime(draft, (began, began))
        draft.replace(self.stamp)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a file lock, saying so when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another ./mlops is preparing the Python environment; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def base_python() -> str:
    """Return the interpreter behind the running one, by its own name rather than a link that an upgrade moves."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable) or sys.executable)


def create(environment: Environment) -> None:
    """Make an empty virtual environment with pip, in place of what is there.

    Raises:
        BootstrapError: This Python can't make one.
    """
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise BootstrapError(
            f"{sys.executable} lacks the module {' and '.join(missing)}, which makes virtual environments. "
            "Install it (Debian, Ubuntu: apt install python3-venv) or name another: MLOPS_PYTHON=/path/to/python3."
        )
    say(f"making a Python environment ({platform.python_version()}) in {environment.venv}")
    command = [base_python(), "-I", "-m", "venv", "--clear", str(environment.venv)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BootstrapError(f"python -m venv failed:\n{(done.stdout + done.stderr).strip()}")


def works(environment: Environment) -> bool:
    """Say whether the environment's interpreter starts, is the one that runs here, and has pip."""
    if not environment.python.exists():
        return False
    check = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
    return subprocess.run([environment.python, "-I", "-c", check], capture_output=True, check=False).returncode == 0


def index_settings(pip_settings: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Translate where pip is told to look into uv's variables, so that a mirror set up for pip is used here too.

    Args:
        pip_settings: Output of `pip config list`, which also holds pip's environment variables.
        environment: Variables that are set; uv's own win.
    """
    found: dict[str, str] = {}
    for line in pip_settings.splitlines():
        name, separator, value = line.partition("=")
        option = name.rpartition(".")[2]
        with contextlib.suppress(ValueError):
            if separator:
                found[option] = " ".join(shlex.split(value))
    translation = {
        "index-url": ("UV_DEFAULT_INDEX", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")),
        "extra-index-url": ("UV_INDEX", ("UV_INDEX", "UV_EXTRA_INDEX_URL")),
        "find-links": ("UV_FIND_LINKS", ("UV_FIND_LINKS",)),
        "trusted-host": ("UV_INSECURE_HOST", ("UV_INSECURE_HOST",)),
        "cert": ("SSL_CERT_FILE", ("SSL_CERT_FILE",)),
    }
    result = {}
    for option, (variable, instead) in translation.items():
        value = found.get(option, "")
        if value and not any(environment.get(name) for name in instead):
            result[variable] = value.replace(" ", ",") if option == "find-links" else value
    return result


def installer(environment: Environment) -> Path | None:
    """Return uv, installed beside the environment from its own lock with hashes, or None where it has no build."""
    name = hashlib.sha256(environment.installer_lock.read_bytes()).hexdigest()[:8]
    folder = environment.state / f"bootstrap-{name}"
    if not folder.exists():
        say("getting the installer (uv)")
        draft = environment.state / f"bootstrap-{name}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        done = subprocess.run(
            [environment.python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
             "--require-hashes", "--only-binary=:all:", "--no-deps", "--target", str(draft),
             "-r", str(environment.installer_lock)],
            check=False,
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(draft, ignore_errors=True)
            return None
        for old in environment.state.glob("bootstrap-*"):
            shutil.rmtree(old, ignore_errors=True) if old != draft else None
        draft.rename(folder)
    uv = folder / "bin" / "uv"
    return uv if uv.exists() else None


def install(environment: Environment) -> None:
    """Bring the environment to exactly what the lock names, checking every hash.

    Raises:
        BootstrapError: An installer failed; what it printed went to the person.
    """
    # A killed installation can leave a package half there that looks whole: then everything is laid anew.
    half_done = environment.unfinished.exists()
    environment.unfinished.touch()
    began = time.monotonic()
    uv = installer(environment)
    say("installing Python packages (about 2 GB the first time; what has arrived is kept if you interrupt)")
    if uv is not None:
        pip_settings = subprocess.run(
            [environment.python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        ).stdout
        command = [str(uv), "pip", "sync", "--python", str(environment.python), "--require-hashes"]
        command += ["--compile-bytecode", *(["--reinstall"] if half_done else []), str(environment.lock)]
        # A bar on a terminal, nothing in a log: it would list every package.
        command += [] if sys.stderr.isatty() else ["--quiet"]
        variables = {**os.environ, **index_settings(pip_settings, os.environ)}
    else:
        say("no uv for this machine; using pip, which takes longer")
        command = [str(environment.python), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        command += ["--require-hashes", *(["--force-reinstall"] if half_done else []), "-r", str(environment.lock)]
        variables = dict(os.environ)
    # Another project's active environment must not be written to.
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME"):
        variables.pop(name, None)
    code = subprocess.run(command, env=variables, stdout=sys.stderr, check=False).returncode
    if code:
        raise BootstrapError(
            f"installing the Python packages failed (exit status {code}, reason above). What has arrived is kept: "
            f"mend the cause (network, disk space: {free_space(environment.root)} free) and run ./mlops again."
        )
    environment.unfinished.unlink()
    say(f"Python packages are in place ({time.monotonic() - began:.0f} s)")


def free_space(path: Path) -> str:
    """Return the free disk space under a path, for people."""
    return f"{shutil.disk_usage(path).free / 1e9:.1f} GB"


def add_project_to_path(environment: Environment) -> None:
    """Let the environment's Python import the project's packages, whoever starts it and wherever.

    The engine starts programs, plugins and policy packs in folders of its own choice; so does Ray.
    """
    site_packages = next(environment.venv.glob("lib/python*/site-packages"))
    pth = site_packages / "mlops-blueprint.pth"
    line = os.path.relpath(environment.root, site_packages) + "\n"
    if not pth.exists() or pth.read_text() != line:
        pth.write_text(line)


def compile_own_code(environment: Environment) -> None:
    """Compile the project's own modules; imports dominate the time of a preview."""
    folders = [str(environment.root / name) for name in OWN_CODE if (environment.root / name).is_dir()]
    if Path(sys.prefix) == environment.venv:
        for folder in folders:
            compileall.compile_dir(folder, quiet=2)
    else:
        subprocess.run([environment.python, "-I", "-m", "compileall", "-qq", *folders], check=False)


def prepare(root: Path) -> None:
    """Bring the environment of the project in `root` up to date.

    Raises:
        BootstrapError: It can't be made; the message says what to do.
    """
    environment = Environment(root)
    for needed in (environment.lock, environment.installer_lock):
        if not needed.is_file():
            raise BootstrapError(f"{needed} is missing: the checkout is not complete (try git status)")
    with exclusive(environment.state / "venv.lock"):
        began = time.time()
        key = environment.key()
        if environment.installed_key() != key or not environment.python.exists():
            environment.stamp.unlink(missing_ok=True)
            if not works(environment):
                create(environment)
            install(environment)
        add_project_to_path(environment)
        compile_own_code(environment)
        environment.write_stamp(key, began)


def main() -> int:
    """Prepare the environment of the project that this file belongs to."""
    try:
        prepare(Path(__file__).resolve().parents[2])
    except BootstrapError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"can't prepare the Python environment: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; what has arrived is kept, the next ./mlops goes on from there")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
