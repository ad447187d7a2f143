"""Run the control plane: `python -m serving.control --config control.json`."""

import argparse
import logging
import os
import sys
import time

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from serving.config import ConfigError
from serving.control.app import Control
from serving.control.config import read
from serving.control.store import Store

log = logging.getLogger("serving.control")


def main() -> int:
    """Serve until stopped; 1 if the settings or the database are unusable."""
    parser = argparse.ArgumentParser(prog="python -m serving.control", description="The control plane of models.")
    parser.add_argument("--config", required=True, help="path of control.json")
    path = parser.parse_args().config
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.umask(0o077)
    try:
        config = read(path)
        store = Store(
            config.database,
            config.snapshot,
            config.snapshot_key,
            rollout_seconds=config.rollout_timeout_seconds,
            clock=time.time,
        )
    except (ConfigError, OSError, SQLAlchemyError) as error:
        log.error("%s", error)  # noqa: TRY400 - the message says all
        return 1
    control = Control(store, config.admin_token, config.replica_token)
    uvicorn.run(
        control.application(),
        host=config.host,
        port=config.port,
        access_log=False,
        log_level="warning",
        # Long polls are ended, not waited for.
        timeout_graceful_shutdown=1,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
