"""From a release to a loaded model, the one way there is: signature, files, digest, and only then the model's code.

Stable versions, candidates and shadows come this way, at a rollout, a restart and a scale-out alike, with a controller
or from the snapshot alone, from the registry or from files that are on this machine already. What the signature is
checked against comes from this process's own configuration: neither registry nor controller can put a key there.
"""

from typing import Any, Literal

from policies.releases.approval import accepted_roots, check_artifact
from policies.releases.keys import KeyFileError, read_trust_root
from policies.releases.signing import SignatureError
from serving.config import Settings, TrustSettings
from serving.fetch import Cache, FetchError
from serving.runtime.artifact import ArtifactError
from serving.runtime.model import Model, load
from serving.state import Release

Fault = Literal["model", "platform"]


class Trust:
    """Whose signatures this process accepts."""

    def __init__(self, settings: TrustSettings) -> None:
        self._settings = settings

    def check(self, model: str, release: Release) -> None:
        """Check the signature of a release; the files are checked against its digest when they are fetched.

        The trust roots are read each time: a key whose line was removed makes nothing loadable any more, without a
        restart.

        Raises:
            SignatureError: the artifact is unsigned or not signed by anybody who is trusted here.
            KeyFileError: a trust root cannot be read, so that nobody can be trusted.
        """
        stated = self._settings
        roots = {root.name: read_trust_root(root.name, root.path) for root in stated.roots}
        check_artifact(
            model,
            release.digest,
            release.signature,
            accepted_roots(roots, roots.keys(), rehearsal=stated.rehearsal),
            release.trained_at,
            rehearsal=stated.rehearsal,
            required=stated.signature == "required",
        )


class Loader:
    """Loads releases for one process."""

    def __init__(self, settings: Settings, *, transport: Any = None) -> None:
        """Make it.

        Args:
            settings: serving.json.
            transport: an httpx transport to the registry, for tests.
        """
        self.cache = Cache(settings.model_cache, settings.registry, transport=transport)
        self._trust = Trust(settings.trust)

    def load(self, model: str, release: Release) -> Model:
        """Return the loaded model of a release, fetched if it is not here yet. Takes seconds; not for an event loop.

        Raises:
            SignatureError: see `Trust.check`; nothing was fetched.
            KeyFileError: a trust root cannot be read.
            FetchError, ArtifactError, OSError: the files cannot be had, or are not what was released.
            Exception: whatever the model's own code raises.
        """
        self._trust.check(model, release)
        return load(self.cache.get(release))


def fault(error: Exception) -> Fault:
    """Say whose fault it is that a release was not loaded.

    A bad signature is the release's own: waiting does not mend it. Files that differ from the digest are not, since
    what was approved is the digest: the registry, or what lies between, gave something else.
    """
    return "platform" if isinstance(error, FetchError | ArtifactError | KeyFileError | OSError) else "model"


def explained(error: Exception) -> str:
    """Return the reason as people will read it."""
    said = str(error) or type(error).__name__
    return f"not loaded, its signature is refused: {said}" if isinstance(error, SignatureError) else said
