"""moto's S3, for what SeaweedFS has not: ACLs, and buckets that refuse them."""

from __future__ import annotations

import signal
import sys
import urllib.request
from pathlib import Path

from lab.addresses import S3Address
from lab.ports import HOST, PortBlock
from lab.process import LabError, ServerProcess

START_SECONDS = 90

PROGRAM = """\
import concurrent.futures, functools, logging, moto.backends, moto.server, socketserver
logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
# else it looks through its own folder, twice for each request: a third of what one costs
moto.backends.list_of_moto_modules = functools.cache(lambda find=moto.backends.list_of_moto_modules: {*find()})
# else it starts a thread for each request
threads = concurrent.futures.ThreadPoolExecutor(64)
socketserver.ThreadingMixIn.process_request = lambda server, *of_request: threads.submit(
    server.process_request_thread, *of_request
)
moto.server.main()
"""


class MotoServer:
    """One moto server. It keeps everything in memory: stopping it empties it.

    Used as a context manager it is started, and closed at the end.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` takes the log."""
        self._folder = folder
        self._block = PortBlock()
        self._port = self._block.take()
        self._process: ServerProcess | None = None
        self.address = S3Address(f"http://{HOST}:{self._port}", "lab-admin", "lab-secret", "lab-reader", "lab-secret")

    def start(self) -> None:
        """Start, and return when requests are answered. Raises: LabError with the log's end."""
        self.stop()  # one that runs is restarted, never forgotten
        # a process of its own: its work must not compete with the tests for one interpreter lock
        command = [sys.executable, "-c", PROGRAM, "-H", HOST, "-p", str(self._port)]
        self._process = ServerProcess("moto", command, self._folder)
        self._process.wait_until(self._answers, START_SECONDS)

    def stop(self) -> None:
        """Stop at once."""
        if self._process is not None:
            self._process.stop(signal.SIGKILL)

    def close(self) -> None:
        """Stop for good and give the port back."""
        self.stop()
        self._block.close()

    def __enter__(self) -> MotoServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process id. Raises: LabError before the first start."""
        if self._process is None:
            raise LabError("moto has not been started")
        return self._process.pid

    @property
    def endpoint_url(self) -> str:
        """The S3 endpoint."""
        return self.address.endpoint_url

    def _answers(self) -> bool:
        try:
            # moto's own page; on its first visit it loads its backends, which takes a second
            with urllib.request.urlopen(f"{self.endpoint_url}/moto-api/", timeout=20) as answer:  # noqa: S310 - http
                return bool(answer.status == 200)
        except OSError:
            return False
