"""Secrets: none stands in plain text among the inputs of a resource, since those go to the state and to reviews.

Two things give one away: a value that looks like a key of a known kind, wherever it stands; and a name that means a
secret over a value that is known and not marked as secret. What is said never holds the value.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import log2
from typing import Any

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

_KINDS: Mapping[str, tuple[str, re.Pattern[str]]] = {
    # text that every one of its kind holds: what it is, and how it looks
    "AKIA": ("access key of AWS", re.compile(r"\bAKIA[0-9A-Z]{16}\b")),
    "ASIA": ("temporary access key of AWS", re.compile(r"\bASIA[0-9A-Z]{16}\b")),
    "PRIVATE KEY-----": ("private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    "ghp_": ("token of GitHub", re.compile(r"\bghp_[0-9A-Za-z]{36}\b")),
    "ghs_": ("token of GitHub", re.compile(r"\bghs_[0-9A-Za-z]{36}\b")),
    "github_pat_": ("token of GitHub", re.compile(r"\bgithub_pat_\w{50,}\b")),
    "glpat-": ("token of GitLab", re.compile(r"\bglpat-[\w-]{20,}")),
    "xox": ("token of Slack", re.compile(r"\bxox[abprs]-[0-9A-Za-z-]{10,}")),
    "hf_": ("token of Hugging Face", re.compile(r"\bhf_[0-9A-Za-z]{30,}\b")),
    "AIza": ("key of Google", re.compile(r"\bAIza[\w-]{35}\b")),
    "sk-": ("key of a model's API", re.compile(r"\bsk-[\w-]{32,}")),
    "sk_live_": ("key of Stripe", re.compile(r"\bsk_live_[0-9A-Za-z]{20,}\b")),
    "eyJ": ("signed token (JWT)", re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}")),
    "://": ("password in a URL", re.compile(r"://[^/\s:@{}$<>]+:[^/\s:@{}$<>]{3,}@[\w.-]+")),
}
_SURE = re.compile(r"(password|passwd|passphrase|secretaccesskey|secretstring|privatekey|connectionstring)$")
"""Ends of names (letters alone, in lower case) whose value is a secret whatever it looks like."""
_MAYBE = re.compile(r"(secret|token|apikey|accesskey|credential|credentials|secretkey|authkey)$")
"""Ends of names whose value may also be the name of a secret: it is one where it looks random."""
_REFERENCE = re.compile(r"^(arn:|/|\$\{|\{\{|https?://[^@]*$|file:|env:|s3://)")
_PARSED = 100_000
_MARK = "[secret]"
"""What the engine writes in place of a secret where it shows plans."""


@resource_rule(
    id="security.no-plain-secret",
    title="No secret stands in plain text among the inputs of a resource",
    severity="critical",
    why="Inputs are kept in the state, shown in reviews and read by everybody who may look at the object.",
    fix="keep it in Secrets Manager (`components.secrets`) and hand over its name, or mark it as a Pulumi secret",
    references=("CIS Kubernetes 1.9 5.4.1", "AWS FSBP ECS.8"),
    types=("*",),
    levels={**EVERYWHERE_ON_AWS, "local": "mandatory"},
    waivable=False,
)
def no_plain_secret(resource: Resource, world: World) -> Iterator[Answer]:
    """Walk through all inputs. A value that is not known cannot be in the program's text, and secrets are marked."""
    if resource.type == "kubernetes:core/v1:Secret":
        yield from _object(resource)
        return
    for name, value in resource.inputs.items():
        yield from _walk(name, value, name, depth=0)


def _object(resource: Resource) -> Iterator[Problem]:
    """Judge a Kubernetes secret: whatever it holds must be marked."""
    for part in ("data", "stringData"):
        content = resource.inputs.get(part)
        for name, value in content.items() if isinstance(content, Mapping) else ():
            if isinstance(value, str) and value not in ("", _MARK):
                yield Problem("it holds a value that is not marked as secret", path=f"{part}.{name}")


def _walk(name: str, value: Any, path: str, *, depth: int) -> Iterator[Problem]:
    """Walk through a value; what is marked as secret, not known or no text is passed by."""
    if isinstance(value, str):
        yield from _text(name, value, path, depth=depth)
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _walk(name, one, f"{path}[{index}]", depth=depth)
    elif isinstance(value, Mapping):
        stated = value.get("name")
        if isinstance(stated, str) and isinstance(value.get("value"), str):
            # An environment variable or a parameter: its name stands beside its value.
            yield from _text(stated, value["value"], f"{path}.value", depth=depth)
        else:
            for key, one in value.items():
                yield from _walk(str(key), one, f"{path}.{key}", depth=depth)


def _text(name: str, text: str, path: str, *, depth: int) -> Iterator[Problem]:
    if text in ("", _MARK):
        return
    for mark, (kind, looks) in _KINDS.items():
        if mark in text and looks.search(text):
            yield Problem(f"it holds a {kind} in plain text", path=path)
            return
    if _means_secret(name, text):
        yield Problem(f"{name} is known and not marked as secret", path=path)
        return
    if depth < 2 and len(text) <= _PARSED:
        inner = _inside(name, text)
        if inner is not None:
            yield from _walk(name, inner, path, depth=depth + 1)


def _means_secret(name: str, text: str) -> bool:
    sure, maybe = _meaning(name)
    if not (sure or maybe) or _REFERENCE.match(text):
        return False
    return sure or _random(text)


@lru_cache(maxsize=10_000)
def _meaning(name: str) -> tuple[bool, bool]:
    """Return whether a name surely, or maybe, means a secret."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    return bool(_SURE.search(plain)), bool(_MAYBE.search(plain))


def _random(text: str) -> bool:
    """Whether a text looks made by chance: 16 or more signs, more than 3 bits each, letters and digits, no spaces."""
    if len(text) < 16 or " " in text or not (re.search(r"\d", text) and re.search(r"[A-Za-z]", text)):
        return False
    counts = [text.count(sign) / len(text) for sign in set(text)]
    return -sum(share * log2(share) for share in counts) > 3


def _inside(name: str, text: str) -> Any:
    """Return what a text holds that is written in JSON, or what a machine's start script holds in base64."""
    if text[0] in "{[":
        try:
            return json.loads(text)
        except ValueError:
            return None
    if name.lower() in ("userdata", "userdatabase64"):
        try:
            return base64.b64decode(text).decode()
        except (binascii.Error, ValueError):
            return None
    return None
