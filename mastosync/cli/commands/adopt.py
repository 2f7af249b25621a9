"""`mastosync adopt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, types_option, workers_option
from mastosync.cli.output import show_json
from mastosync.cli.terminal import status_table
from mastosync.language import deferred, say, tr
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.verifying.adopter import Adoption

_MEANING: dict[str, str] = {
    "absent": deferred("not at the destination yet"),
    "different": deferred("the destination has another object under this key; `mastosync copy` replaces it"),
    "undecided": deferred(
        "the sizes are equal, but the ETags cannot be compared: `mastosync adopt --deep` reads and compares the bytes"
    ),
    "unknown": deferred("the source does not have it, so it cannot be compared"),
    "unread": deferred("a store failed or refused the request: run the same command again"),
    "left": deferred("not adopted, because it is private or has to be stored again: `mastosync copy` does that"),
}


@click.command(name="adopt")
@click.option("--deep", is_flag=True, help="Read objects at both ends where sizes and ETags do not decide.")
@workers_option
@types_option
@json_option
@click.pass_obj
def adopt_command(
    invocation: Invocation, deep: bool, workers: int | None, types: tuple[str, ...], as_json: bool
) -> None:
    """Mark as done what is already at the destination, whoever copied it.

    Both stores are listed, and no object is moved. What has the same size and digest as at the source is done; the rest
    stays for `mastosync copy`.
    """
    from mastosync.app.verify import adopt
    from mastosync.verifying.adopter import AdoptOptions

    options = AdoptOptions(workers or invocation.config.copy.workers, types, deep)
    with invocation.running() as context:
        result = adopt(context, options)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(_render_adoption(result))


def _render_adoption(result: Adoption) -> str:
    """What `adopt` found."""
    from mastosync.verifying.adopter import AdoptionStatus

    total = result.total()
    statuses = [each for each in AdoptionStatus if each is AdoptionStatus.ADOPTED or total[each]]
    lines = [status_table(tr("type"), statuses, result.by_type), ""]
    lines += [f"{status.value}: {say(_MEANING[status])}" for status in statuses if status in _MEANING]
    lines.append(
        tr(
            "adopted {adopted:,} of {all:,} objects ({size}) in {duration}; nothing was moved",
            adopted=total[AdoptionStatus.ADOPTED],
            all=total.total(),
            size=human_bytes(result.adopted_bytes),
            duration=human_seconds(result.seconds),
        )
    )
    if total[AdoptionStatus.ADOPTED]:
        lines.append(
            tr(
                "another tool may have stored them without ACL and headers: `mastosync verify --public` checks this in"
                " a bucket"
            )
        )
    lines.append(tr("next: mastosync copy"))
    return "\n".join(lines)
