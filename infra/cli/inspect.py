"""What `status` shows: the processes as the supervisor and the kernel see them, the models as the controller does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from components import paths
from infra.cli.context import Context
from infra.provider.supervisor import Supervisor

_PAGES = (
    ("MLflow (runs, models)", "tracking", ""),
    ("Ray (cluster, jobs, Serve)", "dashboard", ""),
    ("Prometheus", "metrics", "/query"),
    ("predictions (V2 protocol)", "inference", "/v2/health/ready"),
)


def document(context: Context) -> dict[str, Any]:
    """Collect what is known of a stack.

    Returns:
        stack, ok, problems (why it is not ok), processes, models and pages; no secrets.
    """
    processes = _processes(context)
    models = _models(context)
    problems = [f"process {name} is {p['status']}" for name, p in processes.items() if p["status"] != "running"]
    problems += [f"model {name}: {m['state']}" for name, m in models.items() if not m["served"]]
    return {
        "stack": context.stack,
        "ok": bool(processes) and not problems,
        "problems": problems or ([] if processes else ["no process runs"]),
        "processes": processes,
        "models": models,
        "pages": _pages(context),
    }


def _processes(context: Context) -> dict[str, dict[str, Any]]:
    entries = sorted(Path(paths.run_directory(str(context.home)), "conf.d").glob("*.ini"))
    supervisor = Supervisor(str(context.home))
    found = {}
    for name in (entry.stem for entry in entries):
        info = supervisor.info(name)
        pid = int(info["pid"]) if info else 0
        tree = _tree(pid)
        found[name] = {
            "status": info["statename"].lower() if info else "stopped",
            "pid": pid or None,
            "memory_mib": sum(memory for memory, _ in tree) // 2**20,
            "ports": sorted({port for _, ports in tree for port in ports}),
        }
    return found


def _tree(pid: int) -> list[tuple[int, list[int]]]:
    """Memory in bytes (shared pages counted once) and listening TCP ports of a process and all below it."""
    try:
        root = psutil.Process(pid) if pid else None
        members = [root, *root.children(recursive=True)] if root else []
    except psutil.NoSuchProcess:
        return []
    seen = []
    for member in members:
        try:
            ports = [c.laddr.port for c in member.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
            seen.append((member.memory_full_info().pss, ports))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return seen


def _models(context: Context) -> dict[str, dict[str, Any]]:
    with context.http("control", timeout=5) as http:
        return {name: _model(http, name) for name in context.settings.models}


def _model(http: httpx.Client, name: str) -> dict[str, Any]:
    try:
        answer = http.get(f"/v1/models/{name}")
    except httpx.HTTPError as error:
        return {"served": None, "state": f"unknown, the release controller does not answer ({type(error).__name__})"}
    if answer.status_code == httpx.codes.NOT_FOUND:
        return {"served": None, "state": "not released"}
    body: Mapping[str, Any] = answer.raise_for_status().json()
    rollout = body.get("rollout") or {}
    reason = f": {rollout['reason']}" if rollout.get("reason") else ""
    return {
        "served": body.get("served"),
        "group": body.get("group"),
        "state": f"{rollout.get('state', 'none')}{reason}",
    }


def _pages(context: Context) -> list[dict[str, str]]:
    endpoints = context.outputs["endpoints"]
    pages = []
    for title, name, path in _PAGES:
        endpoint = endpoints.get(name)
        if not endpoint:
            continue
        login = ""
        if endpoint.get("token"):
            user = f"user {endpoint['username']}, password" if endpoint.get("username") else "token"
            login = f"{user}: ./mlops token {name}" + ("" if context.stack == "local" else f" -s {context.stack}")
        pages.append({"name": title, "url": endpoint["url"] + path, "login": login})
    return pages


def replica_logs(context: Context, process: str) -> list[str]:
    """Log files of the Serve replicas, which belong to `inference` but are written by Ray."""
    if process != "inference":
        return []
    folder = Path(paths.short_directory(str(context.home)), "ray", "session_latest", "logs", "serve")
    return [str(path) for path in sorted(folder.glob("replica_*.log"))]
