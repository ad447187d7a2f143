"""Let a process give way: it computes only while nobody of normal priority wants the processor.

A low nice value alone is not enough. It says who gets how much, but who computes already may go on for a scheduler's
slice of some milliseconds before it gives way, several times what a prediction takes. The policy SCHED_IDLE gives way
at once (man 7 sched).
"""

import contextlib
import os
import threading

LOWEST = 19
"""The lowest priority; what is used at it does not count as taken (`serving.gauge`)."""


def step_back() -> None:
    """Give way with all threads of Python, those that they start later as well.

    Threads that Ray started itself keep their priority: they do little, and say that the process is alive. Needs no
    permission; where the system has no such policy nothing happens.
    """
    for thread in threading.enumerate():
        number = thread.native_id
        # A thread may have ended by now.
        with contextlib.suppress(OSError, AttributeError):
            if number is not None:
                os.setpriority(os.PRIO_PROCESS, number, LOWEST)
                os.sched_setscheduler(number, os.SCHED_IDLE, os.sched_param(0))
