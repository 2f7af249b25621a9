"""Reading one batch ahead: the server looks for the next rows while the last ones are worked on here."""

from __future__ import annotations

import selectors
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import generators, pq, sql
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

PATIENCE_SECONDS = 1.0
"""How long a server may be silent that is to finish what nobody wants any more."""


class ReadAhead:
    """The rows of a query, batch by batch, by a cursor on the server. Use as a context manager in a transaction.

    The next batch is asked for before the last one is handed out, so that server, network and
    reader work at the same time. There is no thread: what has been asked for waits in the socket.
    Raises: psycopg.Error.
    """

    def __init__(self, connection: psycopg.Connection, query: sql.Composable, batch_rows: int) -> None:
        self._connection = connection
        self._query = query
        self._batch_rows = batch_rows

    def __enter__(self) -> Self:
        self._connection.execute(sql.SQL("DECLARE mastosync NO SCROLL CURSOR FOR {}").format(self._query))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        settle(self._connection)
        if self._connection.info.transaction_status == pq.TransactionStatus.INTRANS:
            self._connection.execute("CLOSE mastosync")

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        transformer = Transformer(self._connection)
        self._ask()
        while True:
            (result,) = self._connection.wait(generators.execute(self._connection.pgconn))
            if result.status != pq.ExecStatus.TUPLES_OK:
                raise error_from_result(result, encoding=self._connection.info.encoding)
            is_last = result.ntuples < self._batch_rows
            if not is_last:
                self._ask()
            transformer.set_pgresult(result)
            if result.ntuples:
                yield transformer.load_rows(0, result.ntuples, tuple)
            if is_last:
                return

    def _ask(self) -> None:
        query = f"FETCH FORWARD {self._batch_rows} FROM mastosync".encode()
        self._connection.pgconn.send_query_params(query, None, result_format=pq.Format.BINARY)
        self._connection.pgconn.flush()


def settle(connection: psycopg.Connection) -> None:
    """Take in what was asked for ahead, so that the connection is free. One that says nothing is left as it is."""
    pgconn = connection.pgconn
    if pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
        return
    with closing(selectors.DefaultSelector()) as selector:
        selector.register(pgconn.socket, selectors.EVENT_READ)
        while pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            while pgconn.is_busy():
                if not selector.select(PATIENCE_SECONDS):
                    return
                pgconn.consume_input()
            pgconn.get_result()
