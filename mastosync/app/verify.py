"""Commands that compare a store with the manifest: `verify`, `adopt` and `orphans`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from mastosync.app.stores import (
    open_stores,
    require_folder,
    retry_policy,
    settings_of,
    stores_to_write,
    transfer_options,
)
from mastosync.checking.object_check import DeepCheck
from mastosync.checking.public_access import Audience, audience_of
from mastosync.checking.row_check import RowCheck
from mastosync.copying.copier import CopyOptions
from mastosync.errors import ObjectError, StoreUnusable, UsageError
from mastosync.findings.public_summary import public_summary
from mastosync.language import tr
from mastosync.manifest import (
    LastChange,
    ManifestReader,
    Scratch,
    in_one_bucket,
    iter_exposed,
    record_verification,
    verifications,
)
from mastosync.mastodon.catalog import UNSHOWN
from mastosync.mastodon.paperclip import root_of
from mastosync.model import TABLES, EntryState
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.memory import MemoryBudget, return_large_blocks
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.stop import leaving
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.s3.curl_multiplexer import CurlMultiplexer
from mastosync.store.s3.curl_store import CurlStore
from mastosync.verifying.adopter import Adopter, Adoption, AdoptOptions
from mastosync.verifying.listing_merge import RandomSample, Sample
from mastosync.verifying.orphans import OrphanFinder, OrphansOptions, OrphansResult, root_of_copies
from mastosync.verifying.public_check import PublicCheck, PublicSample, site_session
from mastosync.verifying.verifier import Verification, Verifier, VerifyOptions

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.config import Config
    from mastosync.manifest import Manifest
    from mastosync.model import Kind, Record
    from mastosync.verifying.public_result import PublicResult

_EXPOSED_AT_MOST = 10_000  # private objects that one `verify --public` asks for first


def verify(context: Context, options: VerifyOptions, public: int | None = None) -> Verification:
    """Compare the destination with the manifest, and record the result.

    `public`: read a sample of this size without credentials, as a stranger. Raises: Interrupted when asked to stop;
    StoreUnusable; UsageError if `public` is given and the destination is a folder.
    """
    with context.writing_planned("verify") as manifest:
        return _verify(context, manifest, options, public)


def _verify(context: Context, manifest: Manifest, options: VerifyOptions, public: int | None) -> Verification:
    config, stop = context.config, context.stop
    began = time.time()
    if public is not None and config.destination_folder.path:
        raise UsageError(
            tr(
                "--public reads a bucket without credentials, as anybody can; the destination is a folder of this "
                "machine"
            ),
            hint=tr("leave --public out; `mastosync verify --deep` reads objects back"),
        )
    prefix = config.destination.key_prefix
    some_arrived = ManifestReader(manifest).any_done()
    acl = config.destination.acl
    unshown = UNSHOWN if audience_of(acl) is Audience.EVERYBODY else frozenset()
    to_read = RandomSample(options.sample or 0)
    to_ask = PublicSample(public or 0, manifest.kinds(), _wrong_before(manifest, prefix, acl), unshown)
    samples: list[Sample] = [*([to_read] if options.deep else []), *([to_ask] if public else [])]
    row_check = RowCheck(context.files_now)
    left = tr("what was found so far is in the manifest; run the same command again to start over")
    pace = _pace(config, options.workers)
    with leaving(left), open_stores(context, pace, ("destination",), some_arrived=some_arrived) as (store_session,):
        require_folder(config, manifest, store_session)
        verifier = Verifier(
            manifest, manifest.path, store_session, prefix, options, stop, context.listener, samples, row_check
        )
        result = verifier.result
        if not options.deep or options.sample is not None or public is not None:
            verifier.by_listing()
        if options.deep:
            _read_back(context, verifier, None if options.sample is None else to_read.records())
        if public is not None:
            exposed = list(islice(iter_exposed(manifest, options.types), _EXPOSED_AT_MOST))
            records = [*exposed, *to_ask.records()]
            there = _done(manifest, options.types, unshown)
            result.public = _as_anybody(context, store_session, records, options.workers, there)
            result.public.sample, result.public.types = public, options.types or TABLES
            verifier.take_public(result.public, exposed)
    record_verification(manifest, began, time.time(), result.as_json())
    return result


def _read_back(context: Context, verifier: Verifier, drawn: list[Record] | None) -> None:
    """Read objects and compare their digests. `drawn`: a sample; None: everything that is done."""
    config = context.config
    return_large_blocks()
    memory, whole_bytes = MemoryBudget(config.copy.memory), transfer_options(config).whole_bytes
    check = DeepCheck(verifier.store_session, memory, verifier.prefix, whole_bytes)
    with WorkerPool(check.steps, verifier.options.workers, context.stop, CurlMultiplexer) as pool:
        if drawn is None:
            verifier.by_reading(pool, verifier.iter_done(), verifier.entries())
        else:
            verifier.by_reading(pool, drawn, len(drawn))


def adopt(context: Context, options: AdoptOptions) -> Adoption:
    """Mark as done what the destination has already. Raises: Interrupted when asked to stop; StoreUnusable."""
    config = context.config
    with context.writing_planned("adopt") as manifest:
        prefixes = (config.source.key_prefix, config.destination.key_prefix)
        some_arrived = ManifestReader(manifest).any_done()
        left = tr("what was adopted so far is in the manifest; run the same command again for the rest")
        pace = _pace(config, options.workers)
        with (
            leaving(left),
            stores_to_write(context, manifest, pace, some_arrived=some_arrived) as (source, destination),
        ):
            return Adopter(
                manifest,
                manifest.path,
                source,
                destination,
                prefixes,
                options,
                context.stop,
                context.listener,
                one_bucket=in_one_bucket(manifest),
                source_tells_access=bool(config.source_folder.path),
                settings=settings_of(config),
            ).run()


@contextmanager
def orphans(context: Context, workers: int) -> Iterator[tuple[OrphanFinder, OrphansResult]]:
    """List source objects that no row refers to, and rows whose object is missing; lists live as long as the block.

    Raises: Interrupted when asked to stop; StoreUnusable.
    """
    config = context.config
    options = OrphansOptions(workers, timedelta(minutes=config.follow.overlap_minutes))
    prefix = config.source.key_prefix
    left = tr("nothing was changed; run the same command again to start over")
    with context.reading_planned() as manifest, ExitStack() as stack:
        report = ManifestReader(manifest)
        planned_at = report.whole_snapshot().taken_at
        entries = sum(line.objects for line in report.counts())
        stack.enter_context(leaving(left))
        (store_session,) = stack.enter_context(open_stores(context, _pace(config, workers), ("source",)))
        there = config.destination.key_prefix if in_one_bucket(manifest) else None
        finder = OrphanFinder(
            manifest.path,
            store_session,
            prefix,
            planned_at,
            entries,
            options,
            context.stop,
            context.listener,
            stack.enter_context(Scratch()),
            "" if there is None else root_of_copies(prefix, there),
            there,
        )
        yield finder, finder.run()


def _pace(config: Config, workers: int) -> CopyOptions:
    return CopyOptions(workers=workers, rate=config.copy.rate)


def _wrong_before(manifest: Manifest, prefix: str, acl: str) -> set[str]:
    """Keys, without the prefix, that an earlier `verify --public` found wrong."""
    looks = public_summary(reversed(verifications(manifest)), ManifestReader(manifest).counts(), LastChange(), acl)
    return {key.removeprefix(root_of(prefix) or "") for key in looks.keys}


def _done(manifest: Manifest, types: tuple[str, ...], unshown: Collection[str]) -> Counter[Kind]:
    """How many entries are done, by kind; without kinds that strangers are never shown."""
    found: Counter[Kind] = Counter()
    for line in ManifestReader(manifest).counts():
        if line.state is EntryState.DONE and line.kind.table in (types or TABLES) and line.kind.table not in unshown:
            found[line.kind] += line.objects
    return found


def _as_anybody(
    context: Context, store_session: StoreSession, records: list[Record], workers: int, of: Counter[Kind]
) -> PublicResult:
    from mastosync.store.http.public_site import HttpPublicSite

    config, stop = context.config, context.stop
    destination = config.destination
    with ExitStack() as stack:
        store = store_session.store
        bucket_url = store.bucket_url if isinstance(store, CurlStore) else store.endpoint

        def opened(url: str) -> HttpPublicSite:
            return stack.enter_context(closing(HttpPublicSite(url, destination, connections=workers)))

        site = opened(destination.public_url or bucket_url)
        bucket = opened(bucket_url) if destination.public_url else None
        of_site = StoreSession(store, EndpointLimiter(stop, config.copy.rate), retry_policy(config), stop)
        of_site = site_session(site, of_site, config.copy.outage_patience)
        try:
            check = PublicCheck(site, bucket, of_site, destination.key_prefix, workers, stop, destination.acl)
            return check.run(records, of)
        except ObjectError as error:
            raise StoreUnusable(
                error.message,
                hint=tr(
                    "check `public_url` of the destination: it must be the address at which browsers read its objects"
                ),
            ) from error
