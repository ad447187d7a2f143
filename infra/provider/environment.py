"""What processes and jobs see of the environment that `up` was started in: passphrases and tokens stay out."""

import os

_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")


def scrubbed() -> dict[str, str]:
    """Return the variables that are passed on."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}
