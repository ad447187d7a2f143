"""From what a person types to an Open Inference Protocol V2 request: the pure part of `mlops predict`."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.cli.output import CommandFailed

_CASTS = {
    "BOOL": (bool,),
    "BYTES": (str,),
    "FP32": (int, float),
    "FP64": (int, float),
    "INT32": (int,),
    "INT64": (int,),
}


def inference_request(model: str, metadata: Mapping[str, Any], payload: Any) -> dict[str, Any]:
    """Build the V2 request for a payload in any of the forms a person would type.

    Args:
        model: name of the model, for messages.
        metadata: the V2 model metadata; `inputs` lists name, datatype and shape of each tensor.
        payload: one record (`{"field": value}`), a list of records, or a V2 request (an object with `inputs`).

    Returns:
        A V2 request whose tensors have shape [rows].

    Raises:
        CommandFailed: when a field is missing, unknown, or of the wrong type; the message lists what the model takes.
    """
    if isinstance(payload, Mapping) and "inputs" in payload:
        return dict(payload)
    records = [payload] if isinstance(payload, Mapping) else payload
    if not isinstance(records, list) or not records or not all(isinstance(record, Mapping) for record in records):
        raise CommandFailed(
            f"model {model}: the payload is {type(payload).__name__}; "
            "allowed are one record, a list of records, or a V2 request"
        )
    inputs: Sequence[Mapping[str, Any]] = metadata["inputs"]
    # Entities may be sent instead of features that the server then looks up.
    entities: Mapping[str, str] = metadata.get("parameters", {}).get("entities", {})
    known = {**{tensor["name"]: tensor["datatype"] for tensor in inputs}, **entities}
    for number, record in enumerate(records):
        problems = _problems(record, known)
        if problems:
            takes = ", ".join(f"{name} ({datatype})" for name, datatype in known.items())
            raise CommandFailed(
                f"model {model}, record {number}: {'; '.join(problems)}", hint=f"the model takes: {takes}"
            )
    # A field that is absent everywhere is left to the server, which looks it up by entity or says that it is missing.
    present = [name for name in known if any(name in record for record in records)]
    return {
        "inputs": [
            {
                "name": name,
                "datatype": known[name],
                "shape": [len(records)],
                "data": [record.get(name) for record in records],
            }
            for name in present
        ]
    }


def _problems(record: Mapping[str, Any], known: Mapping[str, str]) -> list[str]:
    problems = [f"unknown field {name!r}" for name in record if name not in known]
    for name, value in record.items():
        allowed = _CASTS.get(known.get(name, ""))
        if allowed is None or value is None:
            continue
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            problems.append(f"field {name!r} is {value!r}, its datatype is {known[name]}")
    return problems
