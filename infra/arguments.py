"""From the settings of a stack to the arguments of its platform: the one place where both vocabularies meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from components.blueprint import Shadow, Step, Strategy
from components.cluster.local import ClusterPorts
from components.inference import Batching, Capture, Limits
from components.inference.local import ServingPorts
from components.local import LocalPorts, LocalTarget
from components.models import Model, Replicas
from components.platform import PlatformArgs
from components.site import Site
from infra.facts import gate_args
from infra.releases import read_manifest, read_previous
from infra.releases_target import releases_target
from infra.settings import Settings
from infra.settings import model as stated
from infra.settings.section import Section


def platform_args(
    settings: Settings,
    *,
    project: Path,
    stack: str,
    python: str,
    prometheus: str,
    commit: str = "",
    secret: Collection[str] = (),
) -> PlatformArgs:
    """Arguments of the platform of one stack.

    Args:
        settings: the stack's settings.
        project: folder of the project.
        stack: name of the stack.
        python: interpreter that runs the platform's programs.
        prometheus: path of the Prometheus binary; only the `local` target runs one.
        commit: commit of the program.
        secret: top-level keys of the settings that hold secrets.
    """
    target: Any
    if settings.aws is not None and settings.foundation is not None:
        target = releases_target(settings, settings.aws, settings.foundation, project=project, stack=stack)
    elif settings.aws is not None:
        from infra.arguments_aws import aws_target  # only programs of this target pay for the import

        target = aws_target(settings, settings.aws, project=project, stack=stack)
    else:
        site = Site(stack=stack, home=str(project / ".mlops" / "stacks" / stack), project=str(project), python=python)
        target = _local(settings, site, prometheus)
    rollout = settings.inference.rollout
    return PlatformArgs(
        gate=gate_args(settings, project=project, stack=stack, commit=commit, secret=secret),
        target=target,
        releases="releases" in settings.layers,
        models=[
            _model(
                name,
                model,
                read_manifest(project, name, model.version),
                read_previous(project, name, model.version),
                _shadows(project, name, model),
            )
            for name, model in sorted(settings.models.items())
        ],
        wait=rollout.wait,
        on_interrupt=rollout.on_interrupt,
        rollout_timeout_seconds=rollout.timeout_seconds,
    )


def _local(settings: Settings, site: Site, prometheus: str) -> LocalTarget:
    inference, monitoring = settings.inference, settings.monitoring
    return LocalTarget(
        site=site,
        environment=settings.environment,
        ports=_ports(settings.ports),
        logical_cpus=settings.cluster.logical_cpus,
        object_store_mb=settings.cluster.object_store_mb,
        registry_username=settings.registry.username,
        feature_deadline_ms=settings.feature_store.deadline_ms,
        replicas=_replicas(inference.replicas),
        limits=Limits(
            max_body_bytes=inference.max_body_bytes,
            max_rows=inference.max_rows,
            request_seconds=inference.request_seconds,
        ),
        capture=Capture(**inference.capture.model_dump()),
        batching=Batching(**inference.batching.model_dump()),
        rollout_timeout_seconds=inference.rollout.timeout_seconds,
        prometheus=prometheus,
        metrics_username=monitoring.username,
        scrape_seconds=monitoring.scrape_seconds,
        metrics_retention_days=monitoring.retention_days,
    )


def _ports(ports: stated.Ports) -> LocalPorts:
    return LocalPorts(
        registry=ports.registry,
        feature_store=ports.feature_store,
        metrics=ports.metrics,
        cluster=ClusterPorts(
            gcs=ports.ray_gcs,
            dashboard=ports.ray_dashboard,
            client=ports.ray_client,
            node_manager=ports.ray_node_manager,
            object_manager=ports.ray_object_manager,
            agent=ports.ray_agent,
            agent_grpc=ports.ray_agent_grpc,
            runtime_env=ports.ray_runtime_env,
            metrics=ports.ray_metrics,
            dashboard_metrics=ports.ray_dashboard_metrics,
            workers_first=ports.ray_workers_first,
            workers_last=ports.ray_workers_first + stated.PORTS_TAKEN["ray_workers_first"] - 1,
        ),
        serving=ServingPorts(
            inference=ports.inference,
            control=ports.control,
            fallback=ports.serve_fallback,
            haproxy_stats=ports.haproxy_stats,
            haproxy_metrics=ports.haproxy_metrics,
            replicas_first=ports.serve_replicas_first,
            replicas_last=ports.serve_replicas_first + stated.PORTS_TAKEN["serve_replicas_first"] - 1,
        ),
    )


def _replicas(replicas: stated.Replicas) -> Replicas:
    return Replicas(
        min=replicas.min,
        max=replicas.max,
        target_ongoing=replicas.target_ongoing,
        upscale_delay_seconds=replicas.upscale_delay_seconds,
        downscale_delay_seconds=replicas.downscale_delay_seconds,
    )


def _strategy(strategy: stated.Strategy) -> Strategy:
    """The strategy with its steps written out; of the finer settings only what the stack states."""

    def said(section: Section) -> dict[str, float]:
        return section.model_dump(by_alias=True, exclude_unset=True)

    return Strategy(
        kind=strategy.kind,
        steps=tuple(Step(**step.model_dump()) for step in strategy.planned),
        bake_minutes=strategy.bake,
        then=None if strategy.then == "promote" else strategy.then,
        on_conflict=None if strategy.on_conflict == "supersede" else strategy.on_conflict,
        limits=said(strategy.limits),
        evidence=said(strategy.evidence),
        deadlines=said(strategy.deadlines),
        after=said(strategy.after),
    )


def _shadows(project: Path, name: str, model: stated.Model) -> tuple[Shadow, ...]:
    return tuple(
        Shadow(version=one.version, sample=one.sample, manifest=read_manifest(project, name, one.version))
        for one in model.shadows
    )


def _model(
    name: str,
    model: stated.Model,
    manifest: Mapping[str, Any] | None,
    previous: Mapping[str, Any] | None,
    shadows: tuple[Shadow, ...],
) -> Model:
    return Model(
        name=name,
        folder=model.folder,
        version=model.version,
        seed=model.seed,
        own_group=model.group == "own",
        replicas=_replicas(model.replicas),
        schedule=model.schedule,
        strategy=_strategy(model.strategy),
        params=model.params,
        manifest=manifest,
        previous=previous,
        shadows=shadows,
    )
