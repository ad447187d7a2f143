"""Run the control plane: `python -m serving.control --config control.json`."""

import argparse
import logging
import os
import signal
import sys
import time
import uuid

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from policies.ledger.checkpointer import LedgerBrokenError
from policies.ledger.store import LedgerDamagedError
from policies.releases.keys import KeyFileError
from serving.config import ConfigError
from serving.control.app import Control
from serving.control.audit_api import Audit
from serving.control.captures import Captures
from serving.control.config import ControlConfig, read
from serving.control.database import LEASE_SECONDS, LeaseHeldError
from serving.control.drift import Drift, DriftStore
from serving.control.joining import Joiner
from serving.control.schema import SchemaError
from serving.control.sealing import Sealing
from serving.control.store import Store

log = logging.getLogger("serving.control")


def main() -> int:
    """Serve until stopped; 1 if the settings or the database are unusable, or another controller took over."""
    parser = argparse.ArgumentParser(prog="python -m serving.control", description="The control plane of models.")
    parser.add_argument("--config", required=True, help="path of control.json")
    path = parser.parse_args().config
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.umask(0o077)
    try:
        config = read(path)
        store = _open(config)
        sealing = Sealing(config.ledger, store.seal_with, _end) if config.ledger else None
    except (
        ConfigError, OSError, SQLAlchemyError, LeaseHeldError, LedgerDamagedError, LedgerBrokenError, KeyFileError,
        SchemaError,
    ) as error:  # fmt: skip
        log.error("%s", error)  # noqa: TRY400 - the message says all
        return 1
    labels = None
    if config.captures is not None:
        captures = Captures(config.captures.place)
        labels = Joiner(store, captures, config.captures.retention_days, time.time)
    audit = Audit(store.ledger, sealing.place, (sealing.key,)) if sealing else None
    unsealed = (lambda: sealing.unsealed_seconds) if sealing else None
    drift = Drift(store, DriftStore(config.drift_store).put) if config.drift_store else None
    control = Control(
        store, config.admin_token, config.replica_token, audit, labels=labels, drift=drift, lost=_end, unsealed=unsealed
    )
    # Once it has ended, uvicorn raises the signal that ended it again: that must not keep the ledger from being sealed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    uvicorn.run(
        control.application(),
        host=config.host,
        port=config.port,
        access_log=False,
        log_level="warning",
        # Long polls are ended, not waited for.
        timeout_graceful_shutdown=1,
    )
    if sealing is not None:
        sealing.close()
    return 1 if control.failed else 0


def _open(config: ControlConfig) -> Store:
    """Take the lease; one that was killed still holds it for a few seconds."""
    holder, until = f"{os.getpid()}-{uuid.uuid4().hex[:8]}", time.monotonic() + 3 * LEASE_SECONDS
    while True:
        try:
            return Store(
                config.database,
                config.snapshot,
                config.snapshot_key,
                rollout_seconds=config.rollout_timeout_seconds,
                clock=time.time,
                monotonic=time.monotonic,
                gate=config.gate(),
                holder=holder,
            )
        except LeaseHeldError as error:
            if time.monotonic() > until:
                raise
            log.info("%s", error)
            time.sleep(0.5)


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
