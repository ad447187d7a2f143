"""Bad changes after which nobody can tell who answers for what."""

from tests.policies.bad_changes.draft import Bad

CHANGES = [
    Bad("namespace without an owner", "took the owner's label off", "governance.namespace-labelled",
        lambda d: d.set("core/v1:Namespace", "training", ("metadata", "labels", "mlops/owner"), None)),
]  # fmt: skip
