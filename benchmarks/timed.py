"""Runs one command and says what it cost: `python timed.py RESULT COMMAND …` writes four numbers and the exit code.

A process of its own, and a small one: a child starts its life with the memory of its parent, and
the peak that the system remembers of it is at least that.
"""

import os
import sys
import time

result, *command = sys.argv[1:]
started = time.monotonic()
child = os.posix_spawnp(command[0], command, os.environ)
_pid, status, usage = os.wait4(child, 0)
seconds = time.monotonic() - started
with open(result, "w") as file:  # noqa: PTH123 - pathlib takes as long to import as the rest
    print(seconds, usage.ru_utime, usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status), file=file)
