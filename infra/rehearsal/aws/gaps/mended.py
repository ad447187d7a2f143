"""Faults of moto that would make a right program fail, mended in memory when the server starts."""

from __future__ import annotations

from typing import Any


def mend() -> None:
    """Put the mended functions in place of moto's.

    ModifyDBSubnetGroup (moto 5.2) takes the group out of its table and does not put it back. ModifyDBInstance makes a
    second secret where RDS keeps the password already, and forgets the first, which is then left when all is deleted.
    Objects under a lock: see `mend_checksums`; notifications of a bucket: see `mend_notifications`.
    """
    mend_checksums()
    mend_notifications()
    from moto.rds.models import DBInstance, RDSBackend

    faulty = RDSBackend.modify_db_subnet_group

    def modify_db_subnet_group(self: Any, subnet_name: str, description: str, subnets: list[Any]) -> Any:
        group = faulty(self, subnet_name, description, subnets)
        self.subnet_groups[subnet_name] = group
        return group

    RDSBackend.modify_db_subnet_group = modify_db_subnet_group

    update = DBInstance.update

    def update_once(self: Any, manage_master_user_password: bool | None = None, **rest: Any) -> None:
        kept = manage_master_user_password is True and hasattr(self, "master_user_secret")
        update(self, manage_master_user_password=None if kept else manage_master_user_password, **rest)

    DBInstance.update = update_once


def mend_checksums() -> None:
    """Let a checksum behind the body count for an object under a lock, as S3 does.

    S3 asks for Content-MD5 or a checksum, which may come as a trailer (S3 User Guide, Checking object integrity; the
    default of the AWS SDKs since 2025). Moto (5.2) asks for `x-amz-sdk-checksum-algorithm`, which S3 says has no
    meaning of its own and the SDK for C++ leaves out.
    """
    from moto.s3.responses import S3Response
    from werkzeug.datastructures import Headers

    strict = S3Response._key_response_put
    if getattr(strict, "mended", False):
        return

    def put(self: Any, *arguments: Any) -> Any:
        kind, _, algorithm = str(self.headers.get("x-amz-trailer", "")).rpartition("x-amz-checksum-")
        if algorithm and not kind and not self.headers.get("x-amz-sdk-checksum-algorithm"):
            self.headers = Headers([*self.headers.items(), ("x-amz-sdk-checksum-algorithm", algorithm.upper())])
        return strict(self, *arguments)

    put.mended = True  # type: ignore[attr-defined]
    S3Response._key_response_put = put


def mend_notifications() -> None:
    """Let a bucket tell whether its events go to EventBridge, which moto (5.2) heeds and leaves out of its answer."""
    from moto.s3.responses import S3Response

    silent = S3Response.get_bucket_notification
    if getattr(silent, "mended", False):
        return

    def get_bucket_notification(self: Any) -> Any:
        stated = self.backend.get_bucket_notification_configuration(self.bucket_name)
        status, headers, body = silent(self)
        if stated is None or stated.event_bridge is None:
            return status, headers, body
        text = body.decode() if isinstance(body, bytes) else body
        end = "</NotificationConfiguration>"
        opened = text.removesuffix(end) if text.endswith(end) else f"{text.removesuffix('/>')}>"
        return status, headers, f"{opened}<EventBridgeConfiguration/>{end}"

    get_bucket_notification.mended = True  # type: ignore[attr-defined]
    S3Response.get_bucket_notification = get_bucket_notification
