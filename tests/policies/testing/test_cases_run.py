"""The cases of the rules run in any process, whatever else is installed."""

import subprocess
import sys
from pathlib import Path

from policies.testing.cases import PROJECT

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import tests
from policies.rules.rollback.strategy import release_watched
from policies.testing.cases import run_for
print(run_for([release_watched]).failures, run_for([release_watched]).ran > 2)
"""


def test_a_package_of_others_that_is_called_tests_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[] True", done.stderr
