"""Bad changes after which one failure stops the service."""

from tests.policies.bad_changes.draft import Bad, Draft

POD = ("spec", "template", "spec")
CONTAINER = "spec.template.spec.containers.0"
WORKERS = "spec.rayClusterConfig.workerGroupSpecs.0"
DEPLOYMENT, RAY = "apps/v1:Deployment", "v1:RayService"


def unspread(draft: Draft) -> None:
    """Take what spreads the pods away, whichever way it is stated."""
    pods = draft.one(DEPLOYMENT, "feature-store").peek("spec", "template", "spec")
    for name in ("topologySpreadConstraints", "affinity"):
        if name in pods:
            draft.set(DEPLOYMENT, "feature-store", f"spec.template.spec.{name}", None)


CHANGES = [
    Bad("single replica", "ran one replica of the feature server", "reliability.replicas",
        lambda d: d.set(DEPLOYMENT, "feature-store", "spec.replicas", 1)),
    Bad("workers down to none", "let the workers that serve go down to none", "reliability.replicas",
        lambda d: d.set(RAY, "inference", f"{WORKERS}.minReplicas", 0)),
    Bad("least above most", "asked for more workers at least than at most", "reliability.bounds-consistent",
        lambda d: d.set(RAY, "inference", f"{WORKERS}.maxReplicas", 1)),
    Bad("no disruption budget", "removed the disruption budget of the feature server", "reliability.disruption-budget",
        lambda d: d.drop("PodDisruptionBudget", "feature-store")),
    Bad("no readiness probe", "removed a probe that failed", "reliability.probes",
        lambda d: d.set(DEPLOYMENT, "registry", f"{CONTAINER}.readinessProbe", None)),
    Bad("memory without limit", "took the limit of memory off", "reliability.requests-and-limits",
        lambda d: d.set(DEPLOYMENT, "registry", f"{CONTAINER}.resources.limits", None)),
    Bad("pods of one zone", "took the spread over zones off", "reliability.spread-over-zones", unspread),
    Bad("pool without machines", "selected a pool that does not exist", "reliability.schedulable",
        lambda d: d.set(DEPLOYMENT, "feature-store", (*POD, "nodeSelector", "mlops/pool"), "gpu")),
    Bad("database in one zone", "saved the standby of the database", "reliability.database-multi-zone",
        lambda d: d.set("rds/instance:Instance", "database", "multiAz", False)),
]  # fmt: skip
