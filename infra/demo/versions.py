"""The versions of the trial's model: copies of a trained one, sound or broken, registered, signed and approved.

They take the way of every release: files and a version in the registry, a manifest signed by who trained it, approvals
by others. Only the model's name is the trial's own, so that ledger and quarantine of the real one are not touched.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from infra import proposals
from infra.cli.context import PROJECT, Context
from infra.cli.output import CommandFailed
from infra.demo.faults import FAULTS
from policies.releases import approval as approvals
from policies.releases import keys as key_files
from policies.releases.manifest import Manifest, Statement
from policies.releases.record import canonical

MODEL = "release-demo"
"""Name of the trial's model. No stack may serve a model of this name."""

_BESIDE = ("environment.json", "evaluation_sample.json")


class Versions:
    """Versions of a copy of one trained model, in the registry of a stack that is up. `remove` takes them away."""

    def __init__(self, context: Context, *, base: str = "", model: str = MODEL) -> None:
        """Look up what is copied.

        Args:
            context: the stack.
            base: the trained model to copy; default: the first of the stack that has one.
            model: name of the copies. The base's own name makes further versions of the real model.

        Raises:
            CommandFailed: nothing sound was trained here.
        """
        self._context, self.model = context, model
        self.base, self.sound = _sound(context, base)
        self._client = _client(context)
        self._runs: list[Any] = []
        self._work = Path(tempfile.mkdtemp(prefix="mlops-trial-"))
        self._source: Path | None = None

    def add(self, fault: str) -> dict[str, Any]:
        """Register a copy with a fault, as if it had just been trained and had passed its evaluation.

        Args:
            fault: a key of `FAULTS`.

        Returns:
            What the training job's result would be.
        """
        client, sound = self._client, self.sound
        folder = self._work / f"{fault}-{len(self._runs)}"
        for name in sound["files"]:
            # Content only: what tracking put beside it is made anew.
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._sound_files() / name, folder / name)
        FAULTS[fault].damage(folder)
        self._ensure_model()
        experiment = client.get_experiment_by_name(self.base)
        run = client.create_run(experiment.experiment_id, run_name=f"{self.model}-{fault}").info
        self._runs.append(run)
        for name in _BESIDE:
            client.log_artifact(run.run_id, str(self._work / name))
        client.log_artifacts(run.run_id, str(folder), "model")
        files = _hashes(folder)
        digest = "sha256:" + hashlib.sha256(canonical(files)).hexdigest()
        source = f"{run.artifact_uri}/model"
        tags = {"mlops.digest": digest, "mlops.passed": "true"}
        version = client.create_model_version(self.model, source=source, run_id=run.run_id, tags=tags).version
        client.set_terminated(run.run_id)
        evaluation = sound["evaluation"] | {"model": self.model, "digest": digest}
        return sound | {
            "model": self.model,
            "version": str(version),
            "digest": digest,
            "source": source,
            "files": files,
            "run": run.run_id,
            "fault": fault,
            # The sound model's signature is over another digest; proposing signs what has none.
            "signature": None,
            "evaluation": evaluation,
        }

    def approved(self, candidate: Mapping[str, Any]) -> Manifest:
        """Return the manifest of a version, signed and approved with the demo keys of the environment.

        Raises:
            CommandFailed: a fact that a manifest states is not known.
        """
        environment = self._context.settings.environment
        keys = key_files.make_demo_keys(self._context.home / "data" / "keys", environment)
        now = datetime.now(UTC).replace(microsecond=0)
        try:
            with self._context.http("registry") as http:
                manifest = proposals.propose(
                    candidate,
                    lambda path: http.get(path).raise_for_status().json(),
                    keys,
                    proposals.git_commit(PROJECT),
                )
        except (proposals.ProposalError, httpx.HTTPError) as error:
            raise CommandFailed(str(error)) from None
        for person in keys.approvers:
            statement = Statement(
                principal=person.principal,
                role=person.role,
                environments=(environment,),
                approved_at=now,
                expires_at=now + timedelta(days=1),
                trust_root=keys.trust_root.name,
                comment="a trial of releases",
            )
            signer = key_files.key_signer(key_files.read_private_key(person.key))
            manifest = approvals.with_approval(manifest, approvals.approve(manifest, statement, signer))
        return manifest

    def sample(self) -> dict[str, Any]:
        """Return the evaluation sample of the sound model: `inputs` in the V2 protocol's form, and `outcome`."""
        self._sound_files()
        sample: dict[str, Any] = json.loads((self._work / "evaluation_sample.json").read_text("utf-8"))
        return sample

    def remove(self) -> None:
        """Take everything out of the registry again that was put there, and the copies on this machine."""
        import mlflow
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if self.model != self.base:
            _forget(self._client, self.model)
        for run in self._runs:
            get_artifact_repository(run.artifact_uri).delete_artifacts()
            try:
                self._client.delete_run(run.run_id)
            except mlflow.exceptions.MlflowException as error:
                raise CommandFailed(f"the registry keeps run {run.run_id}: {error}") from None
        self._runs.clear()
        self.close()

    def close(self) -> None:
        """Remove the copies on this machine."""
        shutil.rmtree(self._work, ignore_errors=True)

    def _sound_files(self) -> Path:
        """Fetch the sound model, once; what lies beside it in the registry lies in the work folder."""
        if self._source is None:
            import mlflow

            fetched = mlflow.artifacts.download_artifacts(self.sound["source"], dst_path=str(self._work / "sound"))
            beside = self.sound["source"].rpartition("/")[0]
            for name in _BESIDE:
                mlflow.artifacts.download_artifacts(f"{beside}/{name}", dst_path=str(self._work))
            self._source = Path(fetched)
        return self._source

    def _ensure_model(self) -> None:
        """Name the model in the registry with the facts that a manifest takes from there; what a kill left goes."""
        if self.model == self.base or self._runs:
            return
        _forget(self._client, self.model)
        like = self._client.get_registered_model(self.base)
        self._client.create_registered_model(self.model, tags=dict(like.tags), description=like.description)


def _sound(context: Context, base: str) -> tuple[str, dict[str, Any]]:
    jobs = context.home / "data" / "jobs"
    for name in [base] if base else sorted(context.settings.models):
        trained = {v: r for v, r in proposals.trained(jobs, name).items() if not r.get("fault")}
        try:
            return name, trained[proposals.newest(trained, name)]
        except proposals.ProposalError:
            continue
    raise CommandFailed(
        f"no model of stack {context.stack} was trained and passed its evaluation, so there is nothing to break",
        hint=f"run: ./mlops up {context.stack}",
    )


def _client(context: Context) -> Any:
    tracking = context.endpoint("tracking")
    os.environ |= {
        "MLFLOW_TRACKING_URI": tracking["url"],
        "MLFLOW_TRACKING_USERNAME": tracking["username"],
        "MLFLOW_TRACKING_PASSWORD": tracking["token"],
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # Standard output is for the answer.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)

    return mlflow.MlflowClient()


def _forget(client: Any, model: str) -> None:
    import mlflow

    try:
        client.delete_registered_model(model)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise CommandFailed(f"the registry keeps {model}: {error}") from None


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
