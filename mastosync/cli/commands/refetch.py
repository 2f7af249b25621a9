"""`mastosync refetch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mastosync.cli.invocation import Invocation
from mastosync.cli.options import json_option, source_gone_option, types_option
from mastosync.cli.output import show_json, warn
from mastosync.cli.terminal import status_table
from mastosync.errors import ExitCode
from mastosync.language import deferred, enumerated, say, tr, trn
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.refetching import RefetchResult


@click.command(name="refetch")
@click.option(
    "--apply",
    is_flag=True,
    help="Fetch the files, and write them to the destination. Without it, no server is asked.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Fetch at most this many files.")
@click.option("--workers", type=click.IntRange(min=1), help="Servers asked at once.  [default: 8, or [copy] workers]")
@source_gone_option
@types_option
@json_option
@click.pass_obj
def refetch_command(
    invocation: Invocation,
    apply: bool,
    limit: int | None,
    workers: int | None,
    source_gone: bool,
    types: tuple[str, ...],
    as_json: bool,
) -> ExitCode:
    """Fetch files that the source has lost again, from the servers they came from.

    Of what failed as `missing`, originals whose row has a URL can come back, as far as Mastodon had stored them
    without change. Without --apply this only tells how many those are.
    """
    from mastosync.app.copy import refetch
    from mastosync.refetching import RefetchOptions

    config = invocation.config
    options = RefetchOptions(
        apply, workers or config.copy.workers, types, limit, float(config.refetch.requests_per_second)
    )
    if apply and config.refetch.allow_networks:
        named = enumerated(map(str, config.refetch.allow_networks))
        warn(tr("URLs in the database can reach {named}, as [refetch] allow_networks says", named=named))
    with invocation.running() as context:
        result = refetch(context, options, source_gone=source_gone)
    if as_json:
        show_json(result.as_json())
    else:
        invocation.say(render_refetching(result))
    return ExitCode.OK if result.complete else ExitCode.INCOMPLETE


_HOSTS = 10
_MEANING: dict[str, str] = {
    "derived": deferred(
        "Mastodon makes these from the original: run `tootctl media refresh` and `tootctl accounts refresh` on "
        "its server; those of emojis and of this server's own pictures are made when the picture is sent or "
        "uploaded again"
    ),
    "no_address": deferred("uploaded to this server, or Mastodon keeps no URL for it"),
    "changed": deferred("its row was deleted or has changed since: run `mastosync plan`"),
    "gone": deferred("the other server does not have it any more"),
    "unlike": deferred(
        "the other server sends another type of file than Mastodon had stored: Mastodon had converted it"
    ),
    "refused": deferred(
        "not asked: the URL leads to an address that must not be asked, such as one in a local network"
    ),
    "too_large": deferred("larger than Mastodon accepts"),
    "unreached": deferred("the other server failed: run the same command again"),
    "not_stored": deferred("the destination refused it, or failed"),
}


def render_refetching(result: RefetchResult) -> str:
    """What `refetch` found, or brought."""
    from mastosync.refetching import RefetchStatus

    total = result.total()
    if not total:
        return tr("nothing failed as missing")
    first = RefetchStatus.REFETCHED if result.applied else RefetchStatus.FETCHABLE
    statuses = [first, *(status for status in RefetchStatus if status is not first and total[status])]
    lines = [status_table(tr("missing"), statuses, result.by_type), ""]
    lines += [f"{status.value}: {say(_MEANING[status])}" for status in statuses if status in _MEANING]
    lines += result.examples
    asked = result.by_host.total()
    most = enumerated(f"{host} {files:,}" for host, files in result.by_host.most_common(_HOSTS))
    servers = trn("{count:,} server", "{count:,} servers", len(result.by_host))
    if result.applied:
        lines.append(
            trn(
                "fetched {fetched:,} of {asked:,} file ({size}) from {servers} in {duration}",
                "fetched {fetched:,} of {asked:,} files ({size}) from {servers} in {duration}",
                asked,
                fetched=total[first],
                asked=asked,
                size=human_bytes(result.fetched_bytes),
                servers=servers,
                duration=human_seconds(result.seconds),
            )
        )
        if total[first]:
            lines.append(tr("next: mastosync verify"))
    else:
        lines.append(
            trn(
                "{asked:,} file could be fetched from {servers}{most}",
                "{asked:,} files could be fetched from {servers}{most}",
                asked,
                asked=asked,
                servers=servers,
                most=f": {most}" if most else "",
            )
        )
        lines.append(tr("no server was asked, and nothing was written: `mastosync refetch --apply` fetches the files"))
    return "\n".join(lines)
