"""Which ACL an object gets at the destination, and finding out that the destination takes none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

from mastosync.engine.steps import Step, Steps
from mastosync.errors import AclUnsupported, StoreUnusable
from mastosync.model import Entry
from mastosync.store.base import PutOptions


class AclMode(StrEnum):
    """What ACL objects get at the destination."""

    AUTO = "auto"  # per row, until the store shows that it takes none
    PUBLIC_READ = "public-read"  # per row; a store that takes none is an error
    PRIVATE = "private"  # every object
    NONE = "none"  # no ACL header


class PrivateKeptBack(Exception):
    """The destination cannot keep this private object private."""


class AclRule:
    """What every object of a run is written with. Shared by all workers: what one finds out holds for all."""

    def __init__(self, mode: AclMode, *, copy_private_without_acl: bool) -> None:
        self._mode = mode
        self._copy_private_without_acl = copy_private_without_acl
        self._takes_acl = mode is not AclMode.NONE

    def require_allowed(self, entry: Entry) -> None:
        """Raises: PrivateKeptBack if it is known that this entry would become public."""
        if entry.private and not self._takes_acl and not self._copy_private_without_acl:
            raise PrivateKeptBack(entry.name)

    def written(self, entry: Entry, options: PutOptions, write: Callable[[PutOptions], Step]) -> Steps[Any]:
        """The result of `write` with the ACL that the row asks for, or without where the destination takes none.

        Raises: PrivateKeptBack; StoreUnusable if the configuration insists on ACLs.
        """
        self.require_allowed(entry)
        acl = self._acl_of(entry)
        if acl is None:
            return (yield write(options))
        try:
            return (yield write(replace(options, acl=acl)))
        except AclUnsupported as error:
            if self._mode is not AclMode.AUTO:
                raise StoreUnusable(
                    error.message, hint="set `acl = auto` or `acl = none` for the destination"
                ) from error
            self._takes_acl = False
        self.require_allowed(entry)
        return (yield write(options))

    def _acl_of(self, entry: Entry) -> str | None:
        if not self._takes_acl:
            return None
        return "private" if entry.private or self._mode is AclMode.PRIVATE else "public-read"
