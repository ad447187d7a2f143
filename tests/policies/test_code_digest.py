"""The digest of a rule's code follows what the rule does, and nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policies.code_digest import Code, source_digest

BEFORE = {
    "policies/sample_helpers.py": "LIMIT = 3\nOTHER = 4\n\ndef over(n):\n    return n > LIMIT\n",
    "policies/sample_rule.py": (
        '"""Sample."""\nfrom policies.sample_helpers import over\nfrom policies import sample_helpers as helpers\n'
        "from policies.rule import Problem\nTEXT = 'too many'\nSPARE = 1\n\n"
        "def judge(n):\n    '''Ask.'''\n    if over(n) or helpers.over(n):\n        yield Problem(TEXT)\n"
    ),
}


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Digest of the sample's judge after texts are replaced."""
    import policies

    (tmp_path / "policies").mkdir()
    monkeypatch.setattr(policies, "__path__", [*policies.__path__, str(tmp_path / "policies")])

    def taken(old: str = "", new: str = "") -> str:
        for path, text in BEFORE.items():
            (tmp_path / path).write_text(text.replace(old, new) if old else text)
        importlib.invalidate_caches()
        for name in ("policies.sample_rule", "policies.sample_helpers"):
            sys.modules.pop(name, None)
        return Code().digest(importlib.import_module("policies.sample_rule").judge)

    sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
    yield taken
    sys.dont_write_bytecode = kept
    for name in ("policies.sample_rule", "policies.sample_helpers"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("over(n) or", "not over(n) or"),
        ("'too many'", "'many'"),
        ("n > LIMIT", "n >= LIMIT"),
        ("LIMIT = 3", "LIMIT = 30"),
    ],
)
def test_it_changes_with_the_function_and_with_all_that_it_leads_to(
    digest: Callable[..., str], old: str, new: str
) -> None:
    assert digest(old, new) != digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'''Ask.'''", "'''Ask it.'''"),
        ('"""Sample."""', "# sample"),
        ("    if over", "\n\n    # why\n    if over"),
        ("SPARE = 1", "SPARE = 2"),
        ("OTHER = 4", "OTHER = 5"),
    ],
)
def test_it_stays_when_only_words_or_other_code_change(digest: Callable[..., str], old: str, new: str) -> None:
    assert digest(old, new) == digest()


def test_a_function_made_inside_another_counts_with_its_whole_module() -> None:
    def inner() -> None: ...

    inner.__module__ = "policies.waivers"
    assert Code().digest(inner) == Code().digest(inner)


def test_a_python_file_counts_by_its_code_and_any_other_by_its_bytes() -> None:
    assert source_digest("a.py", b"x = 1  # one\n") == source_digest("a.py", b"x = 1\n")
    assert source_digest("a.py", b"x = 1\n") != source_digest("a.py", b"x = 2\n")
    assert source_digest("a.yml", b"x: 1  # one\n") != source_digest("a.yml", b"x: 1\n")
    assert source_digest("a.py", b"x = (") == source_digest("a.py", b"x = (")
