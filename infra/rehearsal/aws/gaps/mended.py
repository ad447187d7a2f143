"""Faults of moto that would make a right program fail, mended in memory when the server starts."""

from __future__ import annotations

from typing import Any


def mend() -> None:
    """Put the mended functions in place of moto's.

    ModifyDBSubnetGroup (moto 5.2) takes the group out of its table and does not put it back. ModifyDBInstance makes a
    second secret where RDS keeps the password already, and forgets the first, which is then left when all is deleted.
    """
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
