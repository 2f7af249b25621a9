"""A store that costs almost nothing, so that the client is what is measured: nginx, files in memory, and no checks.

GET is a file; PUT makes one (`dav_methods`). No signature is looked at. The ETag of an object is its
MD5, or that of its parts, which nginx knows from a list: to a PUT it answers what ought to arrive, so that
clients compare as they do with a real store. It knows parts of the sizes that it is likely to be sent, by their
lengths. What has arrived is for `damaged` to say.

Large objects go to a bucket that keeps nothing. Their bodies are read into memory, counted and forgotten.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import md5
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from benchmarks.objects import CONTENT_TYPES, BenchObject, damaged_in
from benchmarks.stores.ends import Bucket
from lab.addresses import S3Address
from lab.certificates import certificate
from lab.nginx import START_SECONDS, find_nginx, user_line
from lab.ports import HOST, PortBlock, accepts_connections
from lab.process import ServerProcess
from lab.traffic import Traffic

DELAY_SECONDS = 0.05

SOURCE, DESTINATION = "source", "destination"  # buckets
LOST = "lost"  # a bucket that takes whatever comes, in parts too, and keeps nothing

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
    map '$etag $arg_partNumber' $part_range {{ default ''; '~ 1$' bytes=0-; include ranges.conf; }}
    map '$etag $part_range' $parts {{ default ''; include parts.conf; }}
    map $http_if_match$part_range $of_cache {{ default 1; '' ''; }}
    map '$etag $arg_partNumber $content_length' $part_etag {{ default '"null"'; include part-etags.conf; }}
    map $arg_uploadId $told_etag {{ '' $etag; default $part_etag; }}
    # by the length of boto3's list of parts one can tell whether there are as many as the source's upload had
    map '$uri $http_x_length' $completed {{ default null-1; include completed.conf; }}
    etag off;
    add_header ETag $told_etag always;
    add_header x-amz-request-id null always;  # so that a 404 is taken for a store's
    add_header x-amz-mp-parts-count $parts;
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
    proxy_cache_path answers keys_zone=answers:1m use_temp_path=off inactive=1d;
    proxy_temp_path unused; fastcgi_temp_path unused; uwsgi_temp_path unused; scgi_temp_path unused;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    ssl_protocols TLSv1.3;
    ssl_prefer_server_ciphers on;  # so that all clients use the same, and the one that AWS takes
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    output_buffers 2 256k;  # by TLS, which takes no sendfile

    server {{
        {plain}
        include store.conf;
        location / {{ include object.conf; }}
    }}
    server {{
        {secure}
        include store.conf;
        location / {{ include object.conf; }}
    }}
    server {{
        {counted}
        access_log requests.log request;
        include store.conf;
        location / {{ include object.conf; }}
    }}
    server {{
        {secure_counted}
        access_log requests.log request;
        include store.conf;
        location / {{ include object.conf; }}
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
    server {{ # whom the others ask
        listen {inner};
        root files;
        location / {{ default_type application/octet-stream; }}
        location /{lost}/ {{
            default_type application/xml;
            if ($request_method = POST) {{ return 200 '{multipart}'; }}
            if ($request_method = PUT) {{ return 200; }}
            if ($request_method = DELETE) {{ return 204; }}
            return 404;
        }}
    }}
}}
"""

_STORE = """\
root files;
default_type application/xml;
proxy_http_version 1.1;
{lists}
location /{lost}/ {{
    # the whole body is read, and then the other server is asked without it
    client_body_buffer_size {largest_body};
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header X-Length $content_length;
    proxy_set_header Transfer-Encoding "";
    proxy_set_header Expect "";
    proxy_pass http://{inner};
}}
"""

# A file has no ETag here, so nginx would refuse whatever is said of it by If-Match; what lies in its cache has one.
# The cache is a file as well: beyond the first time, this costs no more than any other request.
_OBJECT = """\
default_type application/octet-stream;
dav_methods PUT DELETE;
create_full_put_path on;
if ($of_cache) {{ proxy_pass http://{inner}; }}
proxy_cache answers;
proxy_cache_key '$etag $part_range';
proxy_cache_valid 200 206 1d;
proxy_set_header Range $part_range;
proxy_hide_header x-amz-request-id;
proxy_hide_header x-amz-mp-parts-count;
"""

# To have pages of the system for each body anew would be a third of the work. The C libraries that do not know it
# only take longer.
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
_PIECE_BYTES = 1 << 20
_USUAL_PART_BYTES = 16 << 20  # of mastosync, where it does not cut as the source did

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
    '<UploadId>1</UploadId><ETag>"$completed"</ETag></CompleteMultipartUploadResult>'
)


class Door:
    """One way into the store, by two ports: source and destination are to look like different stores."""

    def __init__(self, block: PortBlock, ca_bundle: Path | None = None) -> None:
        """`ca_bundle`: who vouches for it, if it is reached by TLS."""
        self.ports = (block.take(), block.take())
        self._ca_bundle = ca_bundle
        scheme, ssl = ("https", " ssl") if ca_bundle else ("http", "")
        self.source, self.destination = (_address(scheme, port) for port in self.ports)
        self.listen = " ".join(f"listen {HOST}:{port}{ssl};" for port in self.ports)

    def bucket(self, name: str) -> Bucket:
        """One of the store, as a client is told of it."""
        return Bucket(self.source if name == SOURCE else self.destination, name, self._ca_bundle)


class NullStore:
    """One nginx with its own configuration, files and ports, for as long as it is entered."""

    def __init__(self, folder: Path, objects: Iterable[BenchObject]) -> None:
        """`folder` takes everything. `objects` are those of the source, and what the destination will be sent."""
        self._nginx = find_nginx()
        self._folder = folder.resolve()
        self._objects = list(objects)
        self._block = PortBlock()
        self._process: ServerProcess | None = None
        self._certificate = self._folder / f"{HOST}.pem"
        self._inner = f"{HOST}:{self._block.take()}"
        self.plain = Door(self._block)
        self.secure = Door(self._block, self._certificate)  # the same store, by TLS
        self.counted = Door(self._block)  # the same store, where requests are noted
        self.secure_counted = Door(self._block, self._certificate)
        self.delayed = Door(self._block)  # the same store, where a request for an object takes 50 ms more

    def __enter__(self) -> NullStore:
        try:
            self._folder.mkdir(exist_ok=True)
            self._fill()
            certificate(self._folder, HOST, days=2)
            self._configure()
            command = (self._nginx, "-e", "stderr", "-p", self._folder, "-c", self._folder / "nginx.conf")
            self._process = ServerProcess("nginx", command, self._folder, environment=_KEEP_MEMORY)
            self._process.wait_until(lambda: accepts_connections(self.delayed.ports[1]), START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()
        self._block.close()

    def warm_up(self) -> None:
        """Have it read once, for each ETag, what it answers to a request with If-Match."""
        for one in {each.etag: each for each in self._objects}.values():
            url = f"{self.plain.source.endpoint_url}/{SOURCE}/{quote(one.key)}"
            with urlopen(Request(url, headers={"If-Match": f'"{one.etag}"'})) as answer:  # noqa: S310 - our own
                while answer.read(_PIECE_BYTES):
                    pass

    def empty(self) -> None:
        """Throw away what has arrived at the destination. The folders stay: a store has none to make for a key."""
        for folder, _, names in os.walk(self.bucket(DESTINATION)):
            for name in names:
                Path(folder, name).unlink()

    def damaged(self, objects: Iterable[BenchObject]) -> list[str]:
        """The keys of those that have not arrived at the destination as they are."""
        return damaged_in(self.bucket(DESTINATION), objects)

    def bucket(self, name: str) -> Path:
        """The folder that holds a bucket's objects, by their keys."""
        return self._folder / "files" / name

    def requests(self) -> Counter[str]:
        """How many requests of each S3 operation came to the doors that count, so far."""
        traffic = Traffic()
        return Counter(traffic.number(method, target, {}).operation for method, _, target in self._noted())

    def uploaded_bytes(self) -> int:
        """How many bytes of bodies (and a few of headers) came to the doors that count so far, by PUT."""
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
            for folder in (path.parent, (self.bucket(DESTINATION) / each.key).parent):
                folder.mkdir(parents=True, exist_ok=True)
            if each.md5 in contents:
                path.hardlink_to(contents[each.md5])
            else:
                path.write_bytes(each.content)
                contents[each.md5] = path

    def _configure(self) -> None:
        buckets = (SOURCE, DESTINATION, LOST)
        as_sent = (f"'/{bucket}/{each.key}' '\"{each.md5}\"';\n" for bucket in buckets[1:] for each in self._objects)
        as_held = (f"'/{SOURCE}/{each.key}' '\"{each.etag}\"';\n" for each in self._objects)
        in_parts_all = [each for each in self._objects if each.part_bytes]
        in_parts = {each.etag: each for each in in_parts_all}.values()
        files = {
            "nginx.conf": _CONFIG.format(
                user=user_line(),
                types=" ".join(f"{content_type} {suffix};" for suffix, content_type in CONTENT_TYPES.items()),
                plain=self.plain.listen,
                secure=self.secure.listen,
                counted=self.counted.listen,
                secure_counted=self.secure_counted.listen,
                delayed=self.delayed.listen,
                inner=self._inner,
                certificate=self._certificate,
                lost=LOST,
                multipart=_MULTIPART,
                delay=f"{DELAY_SECONDS * 1000:.0f}ms",
            ),
            "store.conf": _STORE.format(
                lists="".join(_LIST.format(bucket=bucket) for bucket in buckets),
                lost=LOST,
                inner=self._inner,
                largest_body=max(len(each.content) for each in self._objects),
            ),
            "object.conf": _OBJECT.format(inner=self._inner),
            "etags.conf": "".join((*as_held, *as_sent)),
            "part-etags.conf": "".join(sorted({line for each in self._objects for line in _part_etags(each)})),
            "completed.conf": "".join(
                f"'/{LOST}/{each.key} {_list_bytes(len(_ranges(each)))}' '{each.etag}';\n" for each in in_parts_all
            ),
            "ranges.conf": "".join(line for each in in_parts for line in _ranges(each)),
            "parts.conf": "".join(f"'~^\"{each.etag}\" bytes' {len(_ranges(each))};\n" for each in in_parts),
        }
        for name, text in files.items():
            (self._folder / name).write_text(text, encoding="utf-8")


def _ranges(of: BenchObject) -> list[str]:
    """Which bytes each of its parts is, by the ETag and the number of the part."""
    starts = range(0, len(of.content), of.part_bytes)
    return [
        f"'\"{of.etag}\" {number}' 'bytes={start}-{start + of.part_bytes - 1}';\n"
        for number, start in enumerate(starts, 1)
    ]


def _list_bytes(parts: int) -> int:
    """The length of the list of so many parts that completes an upload, as boto3 writes it."""
    each = '<Part><ETag>""</ETag><PartNumber></PartNumber></Part>'
    around = f'<CompleteMultipartUpload xmlns="{_NAMESPACE}"></CompleteMultipartUpload>'
    return len(around) + sum(len(each) + 32 + len(str(number)) for number in range(1, parts + 1))


def _part_etags(of: BenchObject) -> Iterator[str]:
    """The ETags of its parts in an upload, by the MD5 of the whole, the number and the length of the part."""
    size = len(of.content)
    for part_bytes in {of.part_bytes, _USUAL_PART_BYTES} - {0}:
        if size <= part_bytes:
            continue
        for number, start in enumerate(range(0, size, part_bytes), 1):
            part = of.content[start : start + part_bytes]
            yield f"'\"{of.md5}\" {number} {len(part)}' '\"{md5(part, usedforsecurity=False).hexdigest()}\"';\n"


def _address(scheme: str, port: int) -> S3Address:
    return S3Address(f"{scheme}://{HOST}:{port}", f"key-{port}", "secret", "", "")  # an account each
