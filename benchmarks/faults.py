"""Break a trained model on purpose, and register it like any other version of it: what a release must survive.

    python -m benchmarks.faults --stack local --model mortgage-approval --kind errors

prints the result of the training job that this could have been (with `passed: true`: its evaluation is the sound
model's) and puts it beside the results of real jobs, so that `./mlops release propose` finds it. `./mlops release demo`
does all of it by itself, with a model of its own.
"""

import argparse
import json

from infra.cli.context import Context
from infra.demo.faults import FAULTS
from infra.demo.versions import Versions


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="Register a broken model.")
    parser.add_argument("--stack", default="local")
    parser.add_argument("--model", required=True)
    kinds = "; ".join(f"{name}: {fault.said}" for name, fault in FAULTS.items()).replace("%", "%%")
    parser.add_argument("--kind", choices=sorted(FAULTS), required=True, help=kinds)
    options = parser.parse_args()
    context = Context(options.stack)
    versions = Versions(context, base=options.model, model=options.model)
    candidate = versions.add(options.kind)
    versions.close()
    jobs = context.home / "data" / "jobs"
    file = jobs / f"fault-{options.model}" / candidate["digest"][7:23] / "result.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(candidate, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps({name: candidate[name] for name in ("model", "version", "digest", "source", "fault")}))


if __name__ == "__main__":
    main()
