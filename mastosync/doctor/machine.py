"""This machine: whether it gives as much as the configuration asks for.

Where a connection leads: what does not leave this machine needs no encryption.
"""

from __future__ import annotations

import resource
from ipaddress import ip_address

from mastosync.doctor.findings import Chart, Findings
from mastosync.language import tr

_SMALL_OBJECTS = 2  # connections a worker: one to each store
_LARGE_OBJECTS = 4  # and as many more when it has come across an object that travels in parts
_BESIDES = 50  # the manifest, the log, the interpreter's own


def check_machine(chart: Chart, workers: int) -> Findings[None]:
    """All checks of the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = _any_number(soft)
    least, enough = (connections * workers + _BESIDES for connections in (_SMALL_OBJECTS, _LARGE_OBJECTS))
    said = tr(
        "{workers} workers need up to {enough:,} open files, but the limit is {soft:,}",
        workers=workers,
        enough=enough,
        soft=soft,
    )
    may_rise = "" if _any_number(hard) >= enough else tr(" (as root; the hard limit is lower)")
    remedy = tr(
        "run `ulimit -n {enough}`{may_rise} before mastosync, or use fewer workers", enough=enough, may_rise=may_rise
    )
    if soft >= enough:
        yield chart.ok("files", said)
    elif soft >= least:
        yield chart.warning("files", said, remedy)
    else:
        yield chart.failure("files", said, remedy)


def _any_number(limit: int) -> int:
    return limit if limit != resource.RLIM_INFINITY else 2**31


def is_this_machine(host: str) -> bool:
    """Whether a host (a name, an address or the folder of a socket) is this one for sure."""
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name, which may be anywhere
