"""A store that costs almost nothing, so that the client is what is measured: nginx, files in memory, and no checks.

GET is a file; PUT makes one (`dav_methods`). No signature is looked at. The ETag of an object is its
MD5, which nginx knows from a list: to a PUT it answers what ought to arrive, so that clients compare as
they do with a real store. What has arrived is for `damaged` to say.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from benchmarks.objects import CONTENT_TYPES, BenchObject
from scripts.lab.addresses import S3Address
from scripts.lab.ports import HOST, PortBlock, accepts_connections
from scripts.lab.process import LabError, ServerProcess

START_SECONDS = 10
DELAY_MILLISECONDS = 50

SOURCE, DESTINATION = "source", "destination"  # buckets
LOST = "lost"  # a bucket that takes whatever comes, in parts too, and keeps one file of it

PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "build/nginx/usr/sbin")
REMEDY = "install nginx (apt install nginx-light, brew install nginx), or use `make bench`, which unpacks one"

_CONFIG = """\
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    # etag of every object, by the path it is asked for
    map_hash_max_size 1048576;
    map_hash_bucket_size 512;
    map $uri $etag {{ default '"null"'; include etags.conf; }}
    etag off;
    add_header ETag $etag always;
    types {{ {types} }}
    log_format request '$request_method $request_length $request_uri';
    access_log off;
    sendfile on;
    merge_slashes off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_buffer_size 256k;
    client_body_temp_path files/incoming;  # beside the files: what has come is renamed, not copied
    proxy_temp_path unused; fastcgi_temp_path unused; uwsgi_temp_path unused; scgi_temp_path unused;

    server {{ listen {host}:{plain}; include store.conf; location / {{ include object.conf; }} }}
    server {{ listen {host}:{counted}; access_log requests.log request; include store.conf;
              location / {{ include object.conf; }} }}
    server {{ # every request for an object first fails for want of a password, and nginx is slow to say so
        listen {host}:{delayed}; include store.conf;
        location / {{ auth_basic x; auth_basic_user_file nobody; auth_delay {delay}ms; error_page 401 = @object; }}
        location @object {{ include object.conf; }}
    }}
}}
"""

_STORE = """\
root files;
default_type application/xml;
location = /{source} {{ return 200 '{source_list}'; }}
location = /{destination} {{ return 200 '{destination_list}'; }}
location = /{lost} {{ return 200 '{lost_list}'; }}
location /{lost}/ {{
    if ($request_method = POST) {{ return 200 '{multipart}'; }}
    rewrite ^ /{lost}-object break;
    dav_methods PUT DELETE;
}}
"""

_OBJECT = """\
default_type application/octet-stream;
dav_methods PUT DELETE;
create_full_put_path on;
"""

_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_LIST = (
    _XML + '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name><Prefix></Prefix>'
    "<KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)
# the answer to a start and to an end of an upload in parts: each takes from it what it looks for
_MULTIPART = _XML + (
    '<{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>lost</Bucket><Key>object</Key>'
    '<UploadId>1</UploadId><ETag>"null-1"</ETag></{0}>'
)


def find_nginx() -> Path:
    """The program. Raises: LabError with what to do if there is none."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    found = shutil.which("nginx", path=path)
    if found is None:
        raise LabError(f"there is no nginx here: {REMEDY}")
    return Path(found).resolve()


class NullStore:
    """One nginx with its own configuration, files and ports, for as long as it is entered."""

    def __init__(self, folder: Path, objects: Iterable[BenchObject]) -> None:
        """`folder` takes everything. `objects` are those of the source, and what the destination will be sent."""
        self._nginx = find_nginx()
        self._folder = folder.resolve()
        self._objects = list(objects)
        self._files = self._folder / "files"
        self._block = PortBlock()
        self._plain, self._counted, self._delayed = (self._block.take() for _ in range(3))
        self._process: ServerProcess | None = None
        self.address = _address(self._plain)
        self.counted = _address(self._counted)  # the same store, where requests are noted
        self.delayed = _address(self._delayed)  # the same store, where each request for an object takes 50 ms more

    def __enter__(self) -> NullStore:
        try:
            self._prepare()
            self._process = ServerProcess(
                "nginx", [self._nginx, "-p", self._folder, "-c", self._folder / "nginx.conf"], self._folder
            )
            self._process.wait_until(lambda: accepts_connections(self._delayed), START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()
        self._block.close()

    def empty(self) -> None:
        """Throw away what has arrived at the destination."""
        shutil.rmtree(self._files / DESTINATION, ignore_errors=True)
        (self._files / DESTINATION).mkdir()

    def damaged(self, objects: Iterable[BenchObject]) -> list[str]:
        """The keys of those that have not arrived as they are."""
        return [each.key for each in objects if not _is_whole(self._files / DESTINATION / each.key, each)]

    def requests(self) -> Counter[str]:
        """How many requests of each method came to `counted` since this was last asked, by method.

        A listing counts as LIST, and bytes of requests as BYTES.
        """
        counts: Counter[str] = Counter()
        log = self._folder / "requests.log"
        for line in log.read_text().splitlines():
            method, length, target = line.split(" ", 2)
            path, _, query = target.partition("?")
            is_listing = method == "GET" and ("list-type" in query or path.count("/") == 1)
            counts["LIST" if is_listing else method] += 1
            counts["BYTES"] += int(length)
        os.truncate(log, 0)
        return counts

    def _prepare(self) -> None:
        for bucket in (SOURCE, DESTINATION):
            (self._files / bucket).mkdir(parents=True, exist_ok=True)
        for each in self._objects:
            path = self._files / SOURCE / each.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each.content)
        lists = {f"{bucket}_list": _LIST.format(bucket=bucket) for bucket in (SOURCE, DESTINATION, LOST)}
        multipart = _MULTIPART.format("InitiateMultipartUploadResult")
        buckets = {"source": SOURCE, "destination": DESTINATION, "lost": LOST}
        files = {
            "nginx.conf": _CONFIG.format(
                # started by root, it would give its files to nobody
                user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
                types=" ".join(f"{content_type} {suffix};" for suffix, content_type in CONTENT_TYPES.items()),
                host=HOST,
                plain=self._plain,
                counted=self._counted,
                delayed=self._delayed,
                delay=DELAY_MILLISECONDS,
            ),
            "store.conf": _STORE.format(**buckets, **lists, multipart=multipart),
            "object.conf": _OBJECT,
            "etags.conf": "".join(
                f"'/{bucket}/{each.key}' '\"{each.md5}\"';\n"
                for bucket in (SOURCE, DESTINATION)
                for each in self._objects
            ),
        }
        for name, text in files.items():
            (self._folder / name).write_text(text, encoding="utf-8")


def _address(port: int) -> S3Address:
    return S3Address(f"http://{HOST}:{port}", "any", "secret", "any", "secret")


def _is_whole(path: Path, wanted: BenchObject) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == wanted.md5
