"""Checkpoints of the controller's ledger while it runs: begun as soon as their place can be asked, watched to the end.

Where the place is a store that is away, the controller starts all the same: a rollback may be what is needed now. Until
the store answers nothing is sealed, which shows in `unsealed_seconds`; the first checkpoint then covers all of it.
"""

import logging
import threading
import time
from collections.abc import Callable

from policies.ledger.checkpointer import Checkpointer, CheckpointPlace, DirectoryPlace, LedgerBrokenError
from policies.releases.keys import derive_key, make_key
from policies.releases.signing import PrivateKey, PublicKey, public_key
from serving.control.checkpoint_store import ShippedPlace, StorePlace
from serving.control.config import LedgerConfig

log = logging.getLogger(__name__)

_PURPOSE = "ledger checkpoints"
_RETRY_SECONDS = 5.0
_END_SECONDS = 5.0
Opens = Callable[[CheckpointPlace, PrivateKey], Checkpointer]


class Sealing:
    """The threads that make checkpoints and bring them where they belong."""

    def __init__(
        self,
        config: LedgerConfig,
        opens: Opens,
        lost: Callable[[], None],
        *,
        retry_seconds: float = _RETRY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            config: where checkpoints are kept and what signs them.
            opens: makes the checkpointer, such as `Store.seal_with`.
            lost: called once when the ledger turns out not to continue its checkpoints after the controller started.
            retry_seconds: pause between two tries to reach a store that is away.
            monotonic: seconds that never jump.

        Raises:
            LedgerBrokenError: the ledger does not continue its checkpoints.
            KeyFileError: the key can't be used.
            OSError: the folder can't be used.
        """
        self._opens, self._lost, self._retry, self._monotonic = opens, lost, retry_seconds, monotonic
        self._key = derive_key(config.secret, _PURPOSE) if config.secret else make_key(config.key_file, _PURPOSE)
        disk = DirectoryPlace(config.checkpoints)
        self._shipped = ShippedPlace(disk, StorePlace(config.store)) if config.store else None
        self.place: CheckpointPlace = self._shipped or disk
        self._checkpointer: Checkpointer | None = None
        self._since: float | None = None
        self._stop, self._shipping_stop = threading.Event(), threading.Event()
        try:
            self._checkpointer = opens(self.place, self._key)
        except OSError as error:
            if self._shipped is None:
                raise
            self._since = monotonic()
            log.warning("the ledger is not sealed until the store of its checkpoints answers: %s", error)
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()
        self._shipping: threading.Thread | None = None
        if self._shipped is not None:
            self._shipping = threading.Thread(
                target=self._shipped.run, args=(self._shipping_stop,), name="shipping", daemon=True
            )
            self._shipping.start()

    @property
    def key(self) -> PublicKey:
        """The key that checks the checkpoints."""
        return public_key(self._key)

    @property
    def unsealed_seconds(self) -> float:
        """For how long something has been without a checkpoint where it belongs; 0 when all is well."""
        opened, failing = self._checkpointer, 0.0
        if opened is None or opened.error is not None:
            if self._since is None:
                self._since = self._monotonic()
            failing = self._monotonic() - self._since
        else:
            self._since = None
        return max(failing, self._shipped.waiting_seconds if self._shipped else 0.0)

    def close(self) -> None:
        """Seal what is open and put what waits, as far as a few seconds allow."""
        self._stop.set()
        self._thread.join(_END_SECONDS)
        if self._shipped is not None and self._shipping is not None:
            self._shipping_stop.set()
            self._shipped.hurry()
            self._shipping.join(_END_SECONDS)

    def _run(self) -> None:
        while self._checkpointer is None:
            if self._stop.wait(self._retry):
                return
            try:
                self._checkpointer = self._opens(self.place, self._key)
            except LedgerBrokenError as error:
                log.error("%s", error)  # noqa: TRY400 - the message says all
                self._lost()
                return
            except Exception as error:  # noqa: BLE001 - the store is away, or the database: the next try must come
                log.info("the ledger is not sealed yet: %s", error)
        self._checkpointer.run(self._stop)
