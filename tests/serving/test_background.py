"""Processes that give way, each tried in one of its own."""

import json
import os
import subprocess
import sys

import pytest

from serving.background import LOWEST

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="policies of Linux")

SCRIPT = """
import json, os, sys, threading
from serving import background

def own(found):
    found.append((os.sched_getscheduler(threading.get_native_id()), os.getpriority(os.PRIO_PROCESS, 0)))

gate, before, after, here = threading.Event(), [], [], []
early = threading.Thread(target=lambda: (gate.wait(), own(before)))
early.start()
getattr(background, sys.argv[1])()
own(here)
gate.set()
late = threading.Thread(target=own, args=(after,))
late.start()
early.join()
late.join()
print(json.dumps([before[0], here[0], after[0]]))
"""


def test_threads_of_before_and_after_step_back() -> None:
    assert _threads_after("step_back") == 3 * [[os.SCHED_IDLE, LOWEST]]


def test_threads_of_before_and_after_wait_in_line_and_keep_their_share() -> None:
    assert _threads_after("wait_in_line") == 3 * [[os.SCHED_BATCH, os.getpriority(os.PRIO_PROCESS, 0)]]


def _threads_after(function: str) -> object:
    done = subprocess.run([sys.executable, "-c", SCRIPT, function], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
