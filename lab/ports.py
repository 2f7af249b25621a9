"""Ports for servers that want to be told where to listen."""

from __future__ import annotations

import contextlib
import random
import socket

HOST = "127.0.0.1"
BLOCK_SIZE = 16
# Below the ports that Linux (32768) and macOS (49152) hand to outgoing connections: between choosing a
# port and the server's own bind() no client of another test can be given the same one.
FIRST_PORT, LAST_PORT = 10240, 32767


class PortBlock:
    """A run of TCP ports that no other lab on this machine uses, until `close` or the process ends.

    The claim is a UDP socket on the block's first port: UDP and TCP have separate port numbers, so
    the servers are not in its way, and the system gives the claim back however this process ends.
    """

    def __init__(self) -> None:
        self._claim, self._next = _claim_block()
        self._end = self._next + BLOCK_SIZE

    def take(self) -> int:
        """The next free TCP port of the block. Raises: OSError when there is none left."""
        while self._next < self._end:
            port, self._next = self._next, self._next + 1
            if _is_free(port):
                return port
        raise OSError("the block of ports is used up")

    def close(self) -> None:
        """Let others have the block. Calling it twice is no error."""
        self._claim.close()


def _claim_block() -> tuple[socket.socket, int]:
    starts = list(range(FIRST_PORT, LAST_PORT - BLOCK_SIZE + 2, BLOCK_SIZE))
    random.shuffle(starts)
    for start in starts:
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((HOST, start))
        except OSError:
            claim.close()
        else:
            return claim, start
    raise OSError(f"no free block of {BLOCK_SIZE} ports between {FIRST_PORT} and {LAST_PORT} on {HOST}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as the servers do: a connection of the past that lingers in TIME_WAIT is no obstacle
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


def accepts_connections(port: int) -> bool:
    """Whether something listens on this TCP port."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
