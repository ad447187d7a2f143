"""The table of this provider's resources."""

from infra.provider.gate import GateResource
from infra.provider.job import JobResource
from infra.provider.model_release import ModelReleaseResource
from infra.provider.process import ProcessResource
from infra.provider.random_token import TokenResource
from infra.provider.resource import Resource


def resources() -> dict[str, Resource]:
    """Return every resource by the last part of its type token."""
    return {
        "Process": ProcessResource(),
        "Job": JobResource(),
        "ModelRelease": ModelReleaseResource(),
        "Token": TokenResource(),
        "Gate": GateResource(),
    }
