"""A store that costs almost nothing, so that the client is what is measured: nginx, files in memory, and no checks.

GET is a file; PUT makes one (`dav_methods`). No signature is looked at. The ETag of an object is its
MD5, which nginx knows from a list: to a PUT it answers what ought to arrive, so that clients compare as
they do with a real store. What has arrived is for `damaged` to say.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.objects import CONTENT_TYPES, BenchObject, damaged_in
from lab.addresses import S3Address
from lab.nginx import START_SECONDS, find_nginx, user_line
from lab.ports import HOST, PortBlock, accepts_connections
from lab.process import ServerProcess
from lab.traffic import Traffic

DELAY_SECONDS = 0.05

SOURCE, DESTINATION = "source", "destination"  # buckets
LOST = "lost"  # a bucket that takes whatever comes, in parts too, and has a single file for all of it

_CONFIG = """\
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    map_hash_max_size 1048576;
    map_hash_bucket_size 512;
    map $uri $etag {{ default '"null"'; include etags.conf; }}
    etag off;
    add_header ETag $etag always;
    add_header x-amz-request-id null always;  # so that a 404 is taken for a store's
    types {{ {types} }}
    log_format request '$request_method $request_length $request_uri';
    access_log off;
    log_not_found off;
    sendfile on;
    merge_slashes off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_buffer_size 256k;
    client_body_temp_path files/incoming;  # beside the files: what has come is renamed, not copied
    proxy_temp_path unused; fastcgi_temp_path unused; uwsgi_temp_path unused; scgi_temp_path unused;

    server {{
        {plain}
        include store.conf;
        location / {{ include object.conf; }}
    }}
    server {{
        {counted}
        access_log requests.log request;
        include store.conf;
        location / {{
            include object.conf;
            # nginx would hold it against an ETag of its own making, and has none: so it asks itself without
            if ($http_if_match) {{ proxy_pass {itself}; }}
            proxy_set_header If-Match "";
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
        }}
    }}
    server {{
        {delayed}
        include store.conf;
        # for want of a password no request gets further than here, and nginx is slow to say so
        location / {{
            auth_basic x;
            auth_basic_user_file nobody;
            auth_delay {delay};
            error_page 401 = @object;
        }}
        location @object {{ include object.conf; }}
    }}
}}
"""

_STORE = """\
root files;
default_type application/xml;
{lists}
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
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_LIST = (
    "location = /{bucket} {{ return 200 '" + _XML + f'<ListBucketResult xmlns="{_NAMESPACE}">'
    "<Name>{bucket}</Name><Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated>"
    "</ListBucketResult>'; }}\n"
)
# to the start and to the end of an upload in parts: each takes from it what it looks for
_MULTIPART = (
    _XML + f'<CompleteMultipartUploadResult xmlns="{_NAMESPACE}"><Bucket>{LOST}</Bucket><Key>object</Key>'
    '<UploadId>1</UploadId><ETag>"null-1"</ETag></CompleteMultipartUploadResult>'
)


class Door:
    """One way into the store, by two ports: source and destination are to look like different stores."""

    def __init__(self, block: PortBlock) -> None:
        self.ports = (block.take(), block.take())
        self.source, self.destination = map(_address, self.ports)
        self.listen = " ".join(f"listen {HOST}:{port};" for port in self.ports)


class NullStore:
    """One nginx with its own configuration, files and ports, for as long as it is entered."""

    def __init__(self, folder: Path, objects: Iterable[BenchObject]) -> None:
        """`folder` takes everything. `objects` are those of the source, and what the destination will be sent."""
        self._nginx = find_nginx()
        self._folder = folder.resolve()
        self._objects = list(objects)
        self._block = PortBlock()
        self._process: ServerProcess | None = None
        self.plain = Door(self._block)
        self.counted = Door(self._block)  # the same store, where requests are noted
        self.delayed = Door(self._block)  # the same store, where a request for an object takes 50 ms more

    def __enter__(self) -> NullStore:
        try:
            self._folder.mkdir(exist_ok=True)
            self._fill()
            self._configure()
            command = (self._nginx, "-e", "stderr", "-p", self._folder, "-c", self._folder / "nginx.conf")
            self._process = ServerProcess("nginx", command, self._folder)
            self._process.wait_until(lambda: accepts_connections(self.delayed.ports[1]), START_SECONDS)
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
        shutil.rmtree(self.bucket(DESTINATION), ignore_errors=True)
        self.bucket(DESTINATION).mkdir()

    def damaged(self, objects: Iterable[BenchObject]) -> list[str]:
        """The keys of those that have not arrived at the destination as they are."""
        return damaged_in(self.bucket(DESTINATION), objects)

    def bucket(self, name: str) -> Path:
        """The folder that holds a bucket's objects, by their keys."""
        return self._folder / "files" / name

    def requests(self) -> Counter[str]:
        """How many requests of each S3 operation came to `counted` so far."""
        traffic = Traffic()
        return Counter(traffic.number(method, target, {}).operation for method, _, target in self._noted())

    def uploaded_bytes(self) -> int:
        """How many bytes of bodies (and a few of headers) came to `counted` so far, by PUT."""
        return sum(length for method, length, _ in self._noted() if method == "PUT")

    def _noted(self) -> Iterator[tuple[str, int, str]]:
        for line in (self._folder / "requests.log").read_text(encoding="utf-8").splitlines():
            method, length, target = line.split(" ", 2)
            if "/mastosync-probe/" in target:  # whether the stores are two: once a manifest
                continue
            yield method, int(length), target

    def _fill(self) -> None:
        for bucket in (SOURCE, DESTINATION):
            self.bucket(bucket).mkdir(parents=True)
        contents: dict[str, Path] = {}
        for each in self._objects:
            path = self.bucket(SOURCE) / each.key
            path.parent.mkdir(parents=True, exist_ok=True)
            if each.md5 in contents:
                path.hardlink_to(contents[each.md5])
            else:
                path.write_bytes(each.content)
                contents[each.md5] = path

    def _configure(self) -> None:
        buckets = (SOURCE, DESTINATION, LOST)
        etags = (f"'/{bucket}/{each.key}' '\"{each.md5}\"';\n" for bucket in buckets[:2] for each in self._objects)
        files = {
            "nginx.conf": _CONFIG.format(
                user=user_line(),
                types=" ".join(f"{content_type} {suffix};" for suffix, content_type in CONTENT_TYPES.items()),
                plain=self.plain.listen,
                counted=self.counted.listen,
                delayed=self.delayed.listen,
                itself=self.plain.source.endpoint_url,
                delay=f"{DELAY_SECONDS * 1000:.0f}ms",
            ),
            "store.conf": _STORE.format(
                lists="".join(_LIST.format(bucket=bucket) for bucket in buckets), lost=LOST, multipart=_MULTIPART
            ),
            "object.conf": _OBJECT,
            "etags.conf": "".join(etags),
        }
        for name, text in files.items():
            (self._folder / name).write_text(text, encoding="utf-8")


def _address(port: int) -> S3Address:
    return S3Address(f"http://{HOST}:{port}", f"key-{port}", "secret", "", "")  # an account each
