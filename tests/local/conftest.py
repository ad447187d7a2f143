"""One platform for all end-to-end tests: a fresh checkout, brought up once with the command from the README.

It goes down with the last of them: the tests of other folders have the machine to themselves.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.settings import load_stack_file
from tests.local.checkout import Checkout, Platform, free_offset

HERE = Path(__file__).parent


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform with the two shipped models and a third one that is nothing but a folder and a stack entry."""
    root = tmp_path_factory.mktemp("checkout") / "project"
    root.mkdir()
    project = Checkout.make(root)
    shutil.copytree(HERE / "third_model", root / "training" / "examples" / "third_model")
    project.configure()
    offset = free_offset(load_stack_file(project.stack_file).ports)
    project.configure(
        ports={"offset": offset},
        models={
            "tumour-kind": {"folder": "training/examples/third_model"},
            "mortgage-approval": {
                "replicas": {
                    "min": 1,
                    "max": 3,
                    "targetOngoing": 2,
                    "upscaleDelaySeconds": 1,
                    "downscaleDelaySeconds": 5,
                }
            },
        },
        inference={"capture": {"rotateSeconds": 2}},
        monitoring={"scrapeSeconds": 2},
    )
    try:
        project.run("up", project.stack)
        yield Platform(project, project.outputs()["endpoints"])
    finally:
        project.run("down", project.stack, "--purge", "--yes", check=False)
        left = project.processes()
        for process in left:
            process.kill()
    assert not left, f"`down` left processes: {left}"
