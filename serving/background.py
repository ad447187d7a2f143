"""Let a process give way to those that answer users: always, or only when it is woken.

A low nice value alone is not enough. It says who gets how much, but who computes already may go on for a scheduler's
slice of some milliseconds before it gives way, several times what a prediction takes. The policy SCHED_IDLE gives way
at once. SCHED_BATCH gets its share like everybody else, but waits for a processor when it is woken where others would
take it from whoever computes (man 7 sched).
"""

import contextlib
import os
import threading

LOWEST = 19
"""The lowest priority; what is used at it does not count as taken (`serving.gauge`)."""


def step_back() -> None:
    """Compute only while nobody of normal priority wants the processor.

    Holds for all threads of Python, those that they start later as well. Threads that Ray started itself keep their
    priority: they do little, and say that the process is alive. Needs no permission; where the system has no such
    policy nothing happens.
    """
    for number in _threads():
        # A thread may have ended by now.
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, number, LOWEST)
            os.sched_setscheduler(number, os.SCHED_IDLE, os.sched_param(0))


def wait_in_line() -> None:
    """Interrupt nobody who computes when there is something to do. Holds for the threads for which `step_back` does."""
    for number in _threads():
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(number, os.SCHED_BATCH, os.sched_param(0))


def _threads() -> list[int]:
    return [thread.native_id for thread in threading.enumerate() if thread.native_id is not None]
