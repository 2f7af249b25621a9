"""Reading one batch ahead: the server is asked early, and nothing waits for an answer that nobody wants any more."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

import pytest

from lab.addresses import DatabaseAddress
from mastosync.errors import Interrupted
from mastosync.mastodon.database import BATCH_ROWS, MastodonDatabase
from tests.support.mastodon_tables import ACCOUNTS, MANY_ACCOUNTS, config_of, execute, rows_of
from tests.support.postgres_wire import Wire, messages_in
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing

LATE = """
CREATE FUNCTION late(i bigint) RETURNS varchar LANGUAGE plpgsql AS $$
BEGIN IF i = 9000 THEN PERFORM pg_sleep(600); END IF; RETURN 'a'; END $$;
CREATE VIEW imports AS SELECT i AS id, late(i) AS data_file_name FROM generate_series(1, 9000) i;
"""


def fetches_in(wire: Wire) -> int:
    return sum(kind == "P" and parts[1].startswith(b"FETCH") for kind, parts in messages_in(bytes(wire.sent)))


@contextmanager
def stopped_by_a_signal(after_seconds: float) -> Iterator[None]:
    """Interrupted is raised in this thread, wherever it is, as Ctrl-C does in a plan."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped")

    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident or 0
    timer = threading.Timer(after_seconds, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_the_next_rows_are_asked_for_before_the_last_ones_are_handed_out(database: DatabaseAddress) -> None:
    execute(database, ACCOUNTS, MANY_ACCOUNTS)
    config = replace(config_of(database), sslmode="disable")
    with Wire(database.host, database.port) as wire, MastodonDatabase(config, via=wire.address) as mastodon:
        batches = mastodon.iter_rows("accounts")
        for number in range(1, 4):
            next(batches)
            wait_until(lambda number=number: fetches_in(wire) > number, "the next rows are asked for")  # type: ignore[misc] # bound at once
        assert len(list(batches)) == 1
    assert fetches_in(wire) == 20_000 // BATCH_ROWS + 1


@pytest.mark.parametrize("rows", [1, BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1, 2 * BATCH_ROWS])
def test_every_row_is_read_however_the_batches_fall(database: DatabaseAddress, rows: int) -> None:
    execute(database, ACCOUNTS, MANY_ACCOUNTS, f"DELETE FROM accounts WHERE id > {rows}")  # noqa: S608 - a number
    with MastodonDatabase(config_of(database)) as mastodon:
        for _ in range(2):
            batches = list(mastodon.iter_rows("accounts"))
            assert [row.id for row in rows_of(batches, "avatar")] == list(range(1, rows + 1))


def test_a_plan_that_is_stopped_does_not_wait_for_the_server(database: DatabaseAddress) -> None:
    execute(database, LATE)
    started = time.monotonic()
    with (
        stopped_by_a_signal(0.5),
        pytest.raises(Interrupted),
        MastodonDatabase(config_of(database)) as mastodon,
    ):
        list(mastodon.iter_rows("imports"))
    assert time.monotonic() - started < PATIENCE_SECONDS  # of the 600


def test_an_error_of_the_reader_ends_the_session_tidily(database: DatabaseAddress) -> None:
    """The batch that is on its way is taken in first: a pooler goes on with the connection."""
    execute(database, ACCOUNTS, MANY_ACCOUNTS)
    config = replace(config_of(database), sslmode="disable")
    with (
        Wire(database.host, database.port) as wire,
        suppress(InterruptedError),
        MastodonDatabase(config, via=wire.address) as mastodon,
    ):
        batches = mastodon.iter_rows("accounts")
        next(batches)
        raise InterruptedError
    *_, (last, parts), (goodbye, _) = messages_in(bytes(wire.sent))
    assert (last, parts[0].decode().strip(), goodbye) == ("Q", "ROLLBACK", "X")
