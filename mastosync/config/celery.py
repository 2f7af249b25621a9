"""The keys of a cluster of workers."""

# ruff: noqa: RUF009 - `key` only wraps `field()`; its defaults are immutable

from __future__ import annotations

from dataclasses import dataclass

from mastosync.config.keys import key
from mastosync.config.values import SECRET, Secret, choice, whole


@dataclass(frozen=True, slots=True)
class CeleryConfig:
    """For a cluster of workers, and for files written for the older Celery tool."""

    broker: Secret | None = key(None, SECRET, "The broker's URL, such as redis://localhost:6379/0.")
    backend: Secret | None = key(None, SECRET, "The URL where results are kept.")
    concurrency: int | None = key(None, whole(1), "Tasks at the same time on one machine. Default: [copy] workers.")
    log_level: str = key(
        "info", choice("debug", "info", "warning", "error", "critical", "fatal"), "How much the workers log."
    )
