"""The files of a supervised process, rendered from its inputs. Pure: text in, text out.

What lies on disk is compared with what would be rendered, which is how an edited or missing file is noticed.
"""

import hashlib
import json
import os.path
import shlex
import sys

from components import paths
from infra.provider import launch, marks
from infra.provider.codec import Properties

_LOG_BYTES = 10 * 1024 * 1024
_LOG_BACKUPS = 3
_QUICK_EXITS = 1000
"""Default bound of starts in a row that end within a second; the pause between them grows by a second each."""


def mark(home: str, process: str) -> str:
    """Return the mark that a process and all its descendants carry in their environment."""
    return f"{paths.home_hash(home)}/{process}"


def job_mark(home: str, job: str) -> str:
    """Return the mark of a job; the supervisor's end does not end jobs, so theirs begins differently."""
    return f"{paths.home_hash(home)}-job/{job}"


def process_directory(home: str, process: str) -> str:
    """Return the folder of the launch file and the record of starts of a process."""
    return os.path.join(paths.run_directory(home), "processes", process)  # noqa: PTH118


def entry_file(home: str, process: str) -> str:
    """Return the process's entry in the supervisor's configuration."""
    return os.path.join(paths.run_directory(home), "conf.d", f"{process}.ini")  # noqa: PTH118


def starts_file(home: str, process: str) -> str:
    """Return the file that records when the process was started."""
    return os.path.join(process_directory(home, process), "starts")  # noqa: PTH118


def process_files(inputs: Properties) -> dict[str, str]:
    """Return every file of a process by path: launch file, configuration files, supervisor entry."""
    home, process = inputs["home"], inputs["name"]
    launch_file = os.path.join(process_directory(home, process), "launch.json")  # noqa: PTH118
    rendered = {paths.process_file(home, process, name): content for name, content in inputs["files"].items()}
    rendered[launch_file] = launch_document(
        inputs, mark(home, process), starts_file(home, process), fingerprint=fingerprint(inputs)
    )
    rendered[entry_file(home, process)] = _entry(inputs, launch_file)
    return rendered


def fingerprint(inputs: Properties) -> str:
    """Return a digest of all that a running process was started with; health is only looked at from outside."""
    started_with = {name: value for name, value in inputs.items() if name != "health"}
    return hashlib.sha256(json.dumps(started_with, sort_keys=True).encode()).hexdigest()


def launch_document(
    inputs: Properties,
    process_mark: str | None,
    starts: str | None,
    *,
    fingerprint: str = "",
    die: bool = True,
    once: bool = False,
) -> str:
    """Return the content of a launch file, see `launch.main`."""
    document = {
        "command": inputs["command"],
        "directory": inputs["directory"],
        "environment": inputs["environment"] | inputs["secretEnvironment"],
        "mark": process_mark,
        "starts": starts,
        "dieWithParent": die,
        "once": once,
        "fingerprint": fingerprint,
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def launch_command(launch_file: str) -> list[str]:
    """Return the command that becomes the one described by `launch_file`."""
    return [sys.executable, "-I", "-S", os.path.abspath(launch.__file__), launch_file]  # noqa: PTH100


def _entry(inputs: Properties, launch_file: str) -> str:
    home, process, restart = inputs["home"], inputs["name"], inputs["restart"]
    # `autostart` is off so that a supervisor that comes back does not start everything at once: `up` starts each
    # process in the order of its dependencies.
    return (
        f"[program:{process}]\n"
        f"command={_value(shlex.join(launch_command(launch_file)))}\n"
        f"directory={_value(home)}\n"
        "autostart=false\n"
        f"autorestart={'true' if restart['always'] else 'false'}\n"
        "startsecs=1\n"
        f"startretries={restart.get('maxRetries', _QUICK_EXITS)}\n"
        f"stopwaitsecs={inputs['stopTimeoutSeconds']}\n"
        "stopsignal=TERM\n"
        "stopasgroup=true\n"
        "killasgroup=true\n"
        "redirect_stderr=true\n"
        f"stdout_logfile={_value(paths.log_file(home, process))}\n"
        f"stdout_logfile_maxbytes={_LOG_BYTES}\n"
        f"stdout_logfile_backups={_LOG_BACKUPS}\n"
    )


def supervisor_socket(home: str) -> str:
    """Return the supervisor's control socket."""
    return os.path.join(paths.short_directory(home), "supervisor.sock")  # noqa: PTH118


def supervisor_configuration(home: str) -> str:
    """Return the supervisor's own configuration file.

    The entry `guard` blocks on its standard input, whose other end only the supervisor holds. When the supervisor is
    killed the guard wakes up and ends everything that run of the supervisor started, grandchildren included.
    """
    run = paths.run_directory(home)
    sweeper = [sys.executable, "-I", "-S", os.path.abspath(marks.__file__)]  # noqa: PTH100
    script = f'read -r _; exec "$@" "{marks.SUPERVISOR}=${marks.SUPERVISOR}"'
    guard = shlex.join(["/bin/sh", "-c", script, "guard", *sweeper])
    return (
        "[supervisord]\n"
        "nodaemon=true\n"
        "silent=true\n"
        f"identifier=mlops-{paths.home_hash(home)}\n"
        f"directory={_value(home)}\n"
        f"logfile={_value(paths.log_file(home, 'supervisor'))}\n"
        f"logfile_maxbytes={_LOG_BYTES}\n"
        f"logfile_backups={_LOG_BACKUPS}\n"
        f"pidfile={_value(os.path.join(run, 'supervisord.pid'))}\n"  # noqa: PTH118
        f"childlogdir={_value(os.path.join(home, 'log'))}\n"  # noqa: PTH118
        "umask=077\n"
        "[unix_http_server]\n"
        f"file={_value(supervisor_socket(home))}\n"
        "chmod=0700\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        "[program:guard]\n"
        f"command={_value(guard)}\n"
        "priority=1\n"
        "autorestart=true\n"
        "stdout_logfile=NONE\n"
        "stderr_logfile=NONE\n"
        "[include]\n"
        f"files={_value(os.path.join(run, 'conf.d', '*.ini'))}\n"  # noqa: PTH118
    )


def _value(text: str) -> str:
    """Escape `text` for the supervisor's ini files, where a percent sign begins an expansion."""
    return text.replace("%", "%%")
