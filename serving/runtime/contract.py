"""How a model wants to be served: `serving.json` of an artifact.

It travels inside the artifact and is covered by its digest, so that the rules for captured fields cannot differ
from those that were approved.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FILE = "serving.json"
Rule = Literal["keep", "drop", "hash"]
_RULES = ("keep", "drop", "hash")
_ENTITY_TYPES = ("BYTES", "INT64", "INT32")


class ContractError(Exception):
    """serving.json is malformed; the message names the key."""


@dataclass(frozen=True, slots=True)
class OutputSource:
    """Where an output of the signature comes from: a graph output and, of a two-dimensional one, its column."""

    name: str
    column: int | None = None


@dataclass(frozen=True, slots=True)
class FeatureLookup:
    """Online features by entity key: requests may then send the entities instead of these features.

    `entities` maps the entity column to its datatype, `features` is input name → feature of the service.
    `required` says whether a missing feature refuses the request (True) or is passed on as null (NaN, empty string).
    """

    service: str
    entities: Mapping[str, str]
    features: Mapping[str, str]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Truth:
    """What a label that arrives later is compared with: an output, and how far off a number may be.

    Without a `tolerance` a prediction is right when it equals the label.
    """

    output: str
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """The content of serving.json.

    `capture` names a rule per field (inputs, outputs, entities); `capture_default` holds for the others. `max_rows`
    limits the rows of one request below the platform's limit. `nan` says whether NaN and infinity are accepted in
    float inputs. `truth` says which output labels are about; None: the one named `label`.
    """

    kind: Literal["onnx", "pyfunc"]
    outputs: Mapping[str, OutputSource] = field(default_factory=dict)
    capture: Mapping[str, Rule] = field(default_factory=dict)
    capture_default: Rule = "keep"
    features: FeatureLookup | None = None
    max_rows: int | None = None
    nan: bool = False
    truth: Truth | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of serving.json."""
        outputs = {
            name: {"name": source.name} if source.column is None else {"name": source.name, "column": source.column}
            for name, source in self.outputs.items()
        }
        lookup = self.features and {
            "service": self.features.service,
            "entities": dict(self.features.entities),
            "features": dict(self.features.features),
            "required": self.features.required,
        }
        # Left out where it is not stated, so that the digests of models without it stay what they are.
        truth = {} if self.truth is None else {"truth": _stated(self.truth)}
        return truth | {
            "kind": self.kind,
            "outputs": outputs,
            "capture": {"default": self.capture_default, "fields": dict(self.capture)},
            "features": lookup,
            "limits": {} if self.max_rows is None else {"maxRows": self.max_rows},
            "nan": self.nan,
        }

    def write(self, directory: str | Path) -> None:
        """Write serving.json, the same bytes for the same contract."""
        text = json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n"
        (Path(directory) / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def from_json(cls, data: Any) -> "Contract":
        """Check and build it.

        Raises:
            ContractError: with the key and what is allowed.
        """
        _keys(data, "", {"kind", "outputs", "capture", "features", "limits", "nan", "truth"})
        kind = data.get("kind")
        if kind not in ("onnx", "pyfunc"):
            raise ContractError(f"kind: {kind!r} is not one of onnx, pyfunc")
        capture = data.get("capture", {})
        _keys(capture, "capture", {"default", "fields"})
        fields = _mapping(capture.get("fields", {}), "capture.fields")
        rules = {str(name): _rule(value, f"capture.fields.{name}") for name, value in fields.items()}
        limits = data.get("limits") or {}
        _keys(limits, "limits", {"maxRows"})
        max_rows = limits.get("maxRows")
        if max_rows is not None and (isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1):
            raise ContractError(f"limits.maxRows: expected a whole number of at least 1, got {max_rows!r}")
        nan = data.get("nan", False)
        if not isinstance(nan, bool):
            raise ContractError(f"nan: expected true or false, got {nan!r}")
        outputs = _mapping(data.get("outputs") or {}, "outputs")
        return cls(
            kind=kind,
            outputs={str(name): _output(value, f"outputs.{name}") for name, value in outputs.items()},
            capture=rules,
            capture_default=_rule(capture.get("default", "keep"), "capture.default"),
            features=_lookup(data.get("features")),
            max_rows=max_rows,
            nan=nan,
            truth=_truth(data.get("truth")),
        )

    @classmethod
    def read(cls, directory: str | Path) -> "Contract":
        """Read serving.json of a model folder.

        Raises:
            ContractError: the file is missing or malformed.
        """
        path = Path(directory) / FILE
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, ContractError) as error:
            raise ContractError(f"{path}: {error}") from error


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ContractError(f"{where or 'file'}: expected an object, got {value!r}")
    return value


def _keys(value: Any, where: str, allowed: set[str]) -> None:
    for key in _mapping(value, where):
        if key not in allowed:
            raise ContractError(
                f"{where + '.' if where else ''}{key}: unknown key; allowed: {', '.join(sorted(allowed))}"
            )


def _rule(value: Any, where: str) -> Rule:
    if value not in _RULES:
        raise ContractError(f"{where}: {value!r} is not one of {', '.join(_RULES)}")
    rule: Rule = value
    return rule


def _output(value: Any, where: str) -> OutputSource:
    _keys(value, where, {"name", "column"})
    name, column = value.get("name"), value.get("column")
    if not isinstance(name, str) or not (column is None or (isinstance(column, int) and column >= 0)):
        raise ContractError(f'{where}: expected {{"name": graph output, "column": number}}, got {value!r}')
    return OutputSource(name, column)


def _stated(truth: Truth) -> dict[str, Any]:
    tolerance = {} if truth.tolerance is None else {"tolerance": truth.tolerance}
    return {"output": truth.output, **tolerance}


def _truth(value: Any) -> Truth | None:
    if value is None:
        return None
    _keys(value, "truth", {"output", "tolerance"})
    output, tolerance = value.get("output"), value.get("tolerance")
    if not isinstance(output, str) or not output:
        raise ContractError(f"truth.output: expected the name of an output, got {output!r}")
    if tolerance is None:
        return Truth(output)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise ContractError(f"truth.tolerance: expected a number of at least 0, got {tolerance!r}")
    return Truth(output, float(tolerance))


def _lookup(value: Any) -> FeatureLookup | None:
    if value is None:
        return None
    _keys(value, "features", {"service", "entities", "features", "required"})
    service, required = value.get("service"), value.get("required", True)
    if not isinstance(service, str) or not service:
        raise ContractError(f"features.service: expected a name, got {service!r}")
    if not isinstance(required, bool):
        raise ContractError(f"features.required: expected true or false, got {required!r}")
    entities = _mapping(value.get("entities"), "features.entities")
    for name, datatype in entities.items():
        if datatype not in _ENTITY_TYPES:
            raise ContractError(f"features.entities.{name}: {datatype!r} is not one of {', '.join(_ENTITY_TYPES)}")
    features = value.get("features")
    if isinstance(features, list):
        # The short form: an input has the name of its feature.
        features = {name: name for name in features if isinstance(name, str)}
    features = _mapping(features, "features.features")
    if not entities or not features:
        raise ContractError("features: needs at least one entity and one feature")
    return FeatureLookup(service, dict(entities), dict(features), required)
