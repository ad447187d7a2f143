"""Making the Python environment, without and with the network."""

import importlib.util
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.engine import bootstrap
from infra.engine.bootstrap import BootstrapError, Environment, index_settings

ROOT = Path(__file__).resolve().parents[3]


def test_index_that_is_set_up_for_pip_is_used_by_uv() -> None:
    listing = (
        "global.index-url='https://mirror.example/simple'\n"
        "install.find-links='/a /b'\n"
        ":env:.cert='/etc/ca.pem'\n"
        "global.timeout='9'\n"
    )
    assert index_settings(listing, {}) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_FIND_LINKS": "/a,/b",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }


def test_settings_of_uv_itself_win() -> None:
    listing = "global.index-url='https://mirror.example/simple'\n"
    assert index_settings(listing, {"UV_INDEX_URL": "https://own.example"}) == {}


def test_damaged_pip_settings_are_passed_over() -> None:
    assert index_settings("nonsense\nglobal.index-url='unclosed\n", {}) == {}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A project folder with both locks and no environment."""
    (tmp_path / "infra" / "engine").mkdir(parents=True)
    (tmp_path / "requirements.lock").write_text("a==1\n")
    (tmp_path / "infra" / "engine" / "bootstrap.lock").write_text("uv==1\n")
    return Environment(tmp_path)


def test_key_follows_both_locks(environment: Environment) -> None:
    first = environment.key()
    environment.installer_lock.write_text("uv==2\n")
    second = environment.key()
    environment.lock.write_text("a==2\n")
    assert len({first, second, environment.key()}) == 3


def test_stamp_of_another_folder_does_not_count(environment: Environment) -> None:
    environment.venv.mkdir(parents=True)
    environment.write_stamp("key", time.time())
    assert environment.installed_key() == "key"
    lines = environment.stamp.read_text().splitlines()
    environment.stamp.write_text(f"/elsewhere\n{lines[1]}\n")
    assert environment.installed_key() is None


def test_stamp_is_dated_at_the_beginning(environment: Environment) -> None:
    environment.venv.mkdir(parents=True)
    environment.write_stamp("key", 1_000_000.0)
    assert environment.stamp.stat().st_mtime == 1_000_000.0


def test_python_without_venv_module_is_told_what_to_install(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find_spec(name))
    with pytest.raises(BootstrapError, match=r"ensurepip.*python3-venv"):
        bootstrap.create(environment)


def test_incomplete_checkout_is_told(environment: Environment) -> None:
    environment.lock.unlink()
    with pytest.raises(BootstrapError, match=r"requirements\.lock"):
        bootstrap.prepare(environment.root)


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A project whose lock names one small package."""
    (tmp_path / "infra" / "engine").mkdir(parents=True)
    for name in ("bootstrap.py", "bootstrap.lock"):
        shutil.copy(ROOT / "infra" / "engine" / name, tmp_path / "infra" / "engine" / name)
    lock = (ROOT / "requirements.lock").read_text()
    entry = re.search(r"^iniconfig==.*?(?=^\S)", lock, re.MULTILINE | re.DOTALL)
    assert entry is not None
    (tmp_path / "requirements.lock").write_text(entry[0])
    (tmp_path / "infra" / "__init__.py").write_text("")
    return tmp_path


def bootstrapping(project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", str(project / "infra" / "engine" / "bootstrap.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def imports(project: Path, module: str) -> bool:
    python = project / ".mlops" / "venv" / "bin" / "python"
    return subprocess.run([python, "-I", "-c", f"import {module}"], cwd="/", capture_output=True).returncode == 0


@pytest.mark.slow
def test_environment_is_made_kept_and_mended(small_project: Path) -> None:
    with bootstrap.exclusive(small_project / ".mlops" / "venv.lock"):
        both = [bootstrapping(small_project) for _ in range(2)]
        for process in both:
            assert process.stdout is not None
            assert "waiting for it" in process.stdout.readline()
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("Python packages are in place" in output for output in outputs) == 1
    assert imports(small_project, "iniconfig")
    assert imports(small_project, "infra"), "the project's own packages are importable from anywhere"
    assert list((small_project / "infra" / "__pycache__").glob("__init__.*.pyc"))

    again = bootstrapping(small_project)
    assert again.communicate(timeout=60)[0] == ""

    # Killed in the middle: the package looks installed, but half of it is missing.
    venv = small_project / ".mlops" / "venv"
    (venv / ".mlops-ready").unlink()
    (venv / ".mlops-unfinished").touch()
    next(venv.glob("lib/python*/site-packages/iniconfig/__init__.py")).unlink()
    mended = bootstrapping(small_project)
    mended.communicate(timeout=300)
    assert mended.returncode == 0
    assert imports(small_project, "iniconfig")


@pytest.mark.slow
def test_package_with_another_content_is_refused(small_project: Path) -> None:
    lock = small_project / "requirements.lock"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock.read_text()))
    process = bootstrapping(small_project)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "installing the Python packages failed" in output
    assert not (small_project / ".mlops" / "venv" / ".mlops-ready").exists()
