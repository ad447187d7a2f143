"""Dockerfiles keep what they must, and the check finds each thing that one may do wrong."""

from pathlib import Path

import pytest

from components.workload import USER as POD_USER
from infra.images.lint import USER, instructions, lint
from infra.images.lock import IMAGES, Image

PROJECT = Path(__file__).resolve().parents[3]
PINNED = "docker.io/library/python:3.11-slim@sha256:" + "a" * 64
GOOD = f"""ARG BASE
FROM ${{BASE}} AS packages
RUN pip install --no-cache-dir --no-deps --require-hashes -r /requirements.lock
FROM ${{BASE}}
COPY --from=packages /packages /usr/local
USER {USER}
"""


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_shipped_dockerfiles_keep_the_rules(image: Image) -> None:
    assert lint((PROJECT / "images" / image.name / "Dockerfile").read_text("utf-8")) == []


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_copies_its_code_and_its_lock_only(image: Image) -> None:
    name, code = image.name, image.code
    text = (PROJECT / "images" / name / "Dockerfile").read_text("utf-8")

    copied = [one.text.split()[0] for one in instructions(text) if one.name == "COPY" and "--from" not in one.text]
    assert copied[0] == f"images/{name}/requirements.lock"
    assert {path for path in copied[1:] if not path.endswith("__init__.py")} == set(code)


def test_pods_and_images_run_as_the_same_user() -> None:
    assert f"{POD_USER}:{POD_USER}" == USER


def test_a_good_one_passes() -> None:
    assert lint(GOOD) == []
    assert lint(GOOD.replace("ARG BASE", f"ARG BASE={PINNED}")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ARG BASE", "ARG BASE=python:latest", "the default of BASE is not pinned"),
        ("ARG BASE", "# nothing", "not declared"),
        ("FROM ${BASE}\n", "FROM python:3.11\n", "line 4: base python:3.11 is not pinned"),
        (f"USER {USER}", "", "runs as root"),
        (f"USER {USER}", f"USER {USER}\nUSER root", "runs as root"),
        ("COPY", "ADD https://x.example/y /y\nCOPY", "ADD fetches"),
        ("COPY", "COPY . /app\nCOPY", "whole context"),
        ("COPY", "ARG REGISTRY_PASSWORD\nCOPY", "stays in the image's history"),
        ("COPY", "ENV AWS_SECRET_ACCESS_KEY=1\nCOPY", "stays in the image's history"),
        ("COPY", "RUN curl https://x.example | sh\nCOPY", "without looking"),
        ("COPY", "RUN sudo true\nCOPY", "sudo"),
        ("COPY", "RUN apt-get install -y --no-install-recommends x\nCOPY", "leaves its lists"),
        ("--no-cache-dir ", "", "pip install without --no-cache-dir"),
        ("--require-hashes", "\\\n", "pip install without --require-hashes"),
        ("FROM ${BASE} AS packages\n", "", "one stage only"),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, said: str) -> None:
    assert old in GOOD

    assert any(said in one for one in lint(GOOD.replace(old, new, 1)))
