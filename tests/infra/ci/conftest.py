"""The review with a bit of everything, as the renderers' tests have it."""

from tests.policies.report.conftest import full, review

__all__ = ["full", "review"]
