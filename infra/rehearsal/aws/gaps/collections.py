"""Objects of kinds that moto lacks, kept in memory: create, describe, list, update, delete by the service's model."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.rehearsal.aws.gaps.routing import Request, model_of
from infra.rehearsal.aws.gaps.supplied import Handler, Refused

Record = dict[str, Any]


@dataclass
class Collection:
    """The objects of one kind.

    Attributes:
        service: botocore's name of the service.
        noun: What it is called in the names of operations, for example `Addon`.
        key: Members that name one object.
        root: Member of the answers that holds the object; empty when they hold its members themselves.
        listing: Operation that lists them, the member of its answer, and the attribute it gives (empty for all).
        filled: Returns computed attributes of a new object, given region, account and its arguments.
        account: The account.
        absent: Error code for one that is not there.
        taken: Error code for a key that is taken.
        parent: Raises `Refused` when what the object belongs to is not there.
        records: The objects, by region and key.
    """

    service: str
    noun: str
    key: tuple[str, ...]
    root: str
    listing: tuple[str, str, str]
    filled: Callable[[str, str, Record], Record]
    account: str
    absent: str = "ResourceNotFoundException"
    taken: str = "ResourceInUseException"
    parent: Callable[[str, Record], None] = lambda _region, _arguments: None
    unique: tuple[str, ...] = ()
    records: dict[tuple[str, ...], Record] = field(default_factory=dict)

    def handlers(self) -> dict[str, Handler]:
        """Return what answers the operations."""
        named = {
            f"Create{self.noun}": self._create,
            f"Describe{self.noun}": self._describe,
            f"Update{self.noun}": self._update,
            f"Delete{self.noun}": self._delete,
            self.listing[0]: self._list,
        }
        return {f"{self.service}.{operation}": handler for operation, handler in named.items()}

    def by_arn(self, arn: str) -> Record | None:
        """Return the object with an ARN."""
        return next((one for one in self.records.values() if arn in _arns(one)), None)

    def drop(self, region: str, **members: str) -> None:
        """Remove the objects that have certain values, as when their parent goes."""
        self.records = {
            key: one
            for key, one in self.records.items()
            if key[0] != region or any(one.get(name) != value for name, value in members.items())
        }

    def find(self, request: Request, arguments: Record) -> Record:
        """Return the object that a call names.

        Raises:
            Refused: It is not there.
        """
        found = self.records.get(self._key(request, arguments))
        if found is None:
            names = ", ".join(f"{name} {arguments.get(name)}" for name in self.key)
            raise Refused(self.absent, f"No {self.noun} with {names}", 404)
        return found

    def _key(self, request: Request, arguments: Record) -> tuple[str, ...]:
        return (request.region, *(str(arguments.get(name)) for name in self.key))

    def _create(self, request: Request, arguments: Record) -> Record:
        self.parent(request.region, arguments)
        record = {**arguments, **self.filled(request.region, self.account, arguments)}
        key = self._key(request, record)
        same = [one for where, one in self.records.items() if where[0] == request.region and self._equal(one, record)]
        if key in self.records or (self.unique and same):
            raise Refused(self.taken, f"{self.noun} {' '.join(key[1:])} already exists", 409)
        self.records[key] = record
        return self._answer(request, record)

    def _equal(self, one: Record, other: Record) -> bool:
        return all(one.get(name) == other.get(name) for name in self.unique)

    def _describe(self, request: Request, arguments: Record) -> Record:
        return self._answer(request, self.find(request, arguments))

    def _update(self, request: Request, arguments: Record) -> Record:
        record = self.find(request, arguments)
        old = dict(record)
        record |= {name: value for name, value in arguments.items() if name not in self.key}
        if "modifiedAt" in record:
            record["modifiedAt"] = time.time()
        return self._answer(request, record, old)

    def _delete(self, request: Request, arguments: Record) -> Record:
        record = self.find(request, arguments)
        del self.records[self._key(request, arguments)]
        return self._answer(request, record)

    def _list(self, request: Request, arguments: Record) -> Record:
        parents = [name for name in self.key[:-1] if name in arguments]
        _, member, attribute = self.listing
        found = [
            one
            for key, one in self.records.items()
            if key[0] == request.region and all(one.get(name) == arguments[name] for name in parents)
        ]
        return fitted(request, {member: [one[attribute] if attribute else one for one in found]})

    def _answer(self, request: Request, record: Record, old: Record | None = None) -> Record:
        done = {"id": str(uuid.uuid4()), "status": "Successful", "type": f"{self.noun}Update", "createdAt": time.time()}
        body = {self.root: record} if self.root else record
        both = {"OldAction": old or record, "NewAction": record, "Action": record}
        return fitted(request, {**record, **both, "update": done, **body})


def _arns(record: Record) -> set[Any]:
    return {value for name, value in record.items() if name.lower().endswith("arn")}


def fitted(request: Request, document: Mapping[str, Any]) -> Record:
    """Return what of a document belongs into the answer of a request, by the service's model."""
    shape = model_of(request.service).operation_model(request.operation).output_shape
    return dict(_fit(document, shape)) if shape is not None else {}


def _fit(value: Any, shape: Any) -> Any:
    match shape.type_name:
        case "structure" if isinstance(value, Mapping):
            return {
                member.serialization.get("name", name): _fit(value[name], member)
                for name, member in shape.members.items()
                if value.get(name) is not None
            }
        case "list" if isinstance(value, list):
            return [_fit(item, shape.member) for item in value]
    return value
