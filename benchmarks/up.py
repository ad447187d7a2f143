"""`mlops bench up`: how long from `up` to the first prediction, how long a no-change `up`, how much memory.

Works on a real stack through the real command line: takes it down (data kept), brings it up, asks for one prediction,
brings it up again without a change, and adds up the memory of everything that then runs. `--cold` removes the stack's
data first, so that the models are trained again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="mlops bench up", description=__doc__)
    parser.add_argument("--stack", default="local")
    parser.add_argument("--model", default="flight-delay", help="model that is asked for the first prediction")
    parser.add_argument(
        "--cold", action="store_true", help="remove the stack's data first (the models are trained again)"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before removing data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.cold and not options.yes and input(f"Remove all data of stack {options.stack}? [y/N] ").lower() != "y":
        sys.exit(1)
    _run("down", options.stack, *(["--purge", "--yes"] if options.cold else []))
    begin = time.perf_counter()
    _run("up", options.stack)
    example = PROJECT / "training/examples" / options.model.replace("-", "_") / "example.json"
    answer = json.loads(_run("predict", options.model, "--json", f"@{example}", "--stack", options.stack))
    first_prediction = time.perf_counter() - begin
    begin = time.perf_counter()
    _run("up", options.stack)
    no_change = time.perf_counter() - begin
    begin = time.perf_counter()
    _run("pulumi", "preview", "-s", options.stack, "--expect-no-changes")
    preview = time.perf_counter() - begin
    result: dict[str, Any] = {
        "start": "cold" if options.cold else "warm",
        "cores": os.cpu_count(),
        "first_prediction_seconds": round(first_prediction, 1),
        "no_change_up_seconds": round(no_change, 1),
        "no_change_preview_seconds": round(preview, 1),
        "memory_mib": memory(PROJECT / ".mlops/stacks" / options.stack),
        "answered_by": f"{answer['model_name']} {answer.get('model_version', '')}".strip(),
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print("\n".join(f"{name.replace('_', ' '):<28}{value}" for name, value in result.items()))


def memory(home: Path) -> int:
    """Memory of all processes of a stack, MiB: proportional set size, so that shared pages count once."""
    total = 0
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join(process.cmdline()) or str(home) in str(process.environ()):
                total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total // 2**20


def _run(*arguments: str) -> str:
    print(f"./mlops {' '.join(arguments)}", file=sys.stderr, flush=True)
    done = subprocess.run(["./mlops", *arguments], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"./mlops {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
