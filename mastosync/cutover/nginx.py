"""The media host as a configuration of nginx: the new store is asked first, the old one for what that does not have.

Only text is made here. A key goes to a store as the browser sent it: nginx would decode it and encode it anew, and
`%2B` would arrive as `+`, which some stores take for a space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from mastosync.cutover.evidence import Fallback
from mastosync.cutover.nginx_comments import commented
from mastosync.errors import UsageError
from mastosync.language import tr
from mastosync.mastodon.catalog import UNSHOWN
from mastosync.model import CACHE_CONTROL, TABLES

_RESOLVER = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/[A-Za-z0-9._~:/%+@-]*")  # nothing that ends a word or names a variable
_SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_HIDDEN = (
    *("Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods"),
    *("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Max-Age", "Cache-Control"),
    *("Content-Security-Policy", "Expires", "Seaweed-X-Amz-ETag", "Seaweed-X-Amz-Owner", "Set-Cookie"),
    *("x-amz-bucket-region", "x-amz-checksum-crc32", "x-amz-checksum-crc64nvme", "x-amz-checksum-type"),
    *("x-amz-content-sha256", "x-amz-expiration", "x-amz-id-2", "x-amz-meta-server-side-encryption"),
    *("x-amz-object-lock-mode", "x-amz-replication-status", "x-amz-request-id", "x-amz-server-side-encryption"),
    *("x-amz-storage-class", "x-amz-tagging-count", "x-amz-version-id", "x-amzn-requestid", "X-Content-Type-Options"),
    *("x-minio-deployment-id", "x-rgw-object-type"),
)
"""Headers of stores that are nobody's business, or that nginx sets better itself."""


@dataclass(frozen=True, slots=True)
class PublicBucket:
    """A bucket as everybody reads it."""

    url: str  # keys come after it, without the prefix: it ends with a slash
    certificates: Path | None = None  # of the authorities that are trusted; None: those of the system
    verified: bool = True  # whether its certificate is looked at


@dataclass(frozen=True, slots=True)
class PublicFolder:
    """A folder of the machine on which nginx runs."""

    path: Path


PublicStore: TypeAlias = PublicBucket | PublicFolder


def file_name(host: str) -> str:
    """A host with its port, in names of files: one nginx may serve several instances."""
    return host.replace(":", "-")


def fallback_log(host: str) -> Path:
    """Where nginx writes what it has asked the old store for."""
    return Path(f"/var/log/nginx/mastodon-media-{file_name(host)}-fallback.log")


def host_and_port(name: str, scheme: str = "https") -> tuple[str, int]:
    """What a media host is made of. Raises: UsageError if it is none."""
    found = _NAME.fullmatch(name)
    port = int((found and found["port"]) or (443 if scheme == "https" else 80))
    if not found or not 0 < port < 1 << 16:
        raise UsageError(
            tr("{name!r} is no name of a media host", name=name),
            hint=tr("--media-host takes a host, with a port if need be: files.example.com, files.example.com:8443"),
        )
    return found["host"], port


@dataclass(frozen=True, slots=True)
class MediaHost:
    """What browsers ask for media. Files and addresses of its machine are as Debian has them."""

    name: str  # a host, with its port if that is another one than the scheme's
    new: PublicStore
    old: PublicStore | None  # None: nobody is asked for what the new one lacks
    resolvers: tuple[str, ...]  # of name servers, as `resolver_address` writes them
    prefixes: tuple[str, ...] = ()  # that addresses of media begin with, as they stand in them: `foo/`
    fallback: Fallback = Fallback.ALL
    scheme: str = "https"  # of its addresses; http: without TLS
    listen: tuple[str, ...] = ()  # none: the port of its name, at every address
    certificate: Path | None = None  # None: where certbot puts it
    certificate_key: Path | None = None
    cache: Path | None = None  # None: where Debian has such, with this name
    log: Path | None = None

    def render(self) -> str:
        """The configuration, to be included in `http { }`. Raises: UsageError for what nginx cannot have."""
        host, port = host_and_port(self.name, self.scheme)
        old = None if self.fallback is Fallback.NONE else self.old
        kinds = {type(self.new), type(old)}
        buckets = [role for role, store in (("new", self.new), ("old", old)) if isinstance(store, PublicBucket)]
        files = _FILES.format(own=_own(self.name), prefixes=_alternatives(map(unquote, self.prefixes)))
        own, log = _own(self.name), self.log or fallback_log(self.name)
        text = _HOST.format(
            about=_ABOUT[self.fallback if old else Fallback.NONE],
            name=host,
            own=own,
            cache=_quoted(self.cache or Path(f"/var/cache/mastodon-media-{file_name(self.name)}")),
            prefixes=_alternatives(self.prefixes),
            cache_control=CACHE_CONTROL,
            told="".join(_TOLD.format(role=role) for role in buckets),
            fallback=_SCOPES[self.fallback if old else Fallback.NONE],
            files=files if PublicFolder in kinds else "",
            tables="|".join(table for table in TABLES if table not in UNSHOWN),
            listen=self._listening(port),
            tls=self._tls(host) if self.scheme == "https" else "",
            resolver=_NAME_SERVERS.format(addresses=_addresses(self.resolvers)) if PublicBucket in kinds else "",
            hidden="\n".join(f"    proxy_hide_header {header};" for header in _HIDDEN),
            new=_place(self.new, "new", own, absent=f"$mastodon_fallback{own}"),
            old=_OLD.format(log=_quoted(log), old=_place(old, "old", own, absent="@absent")) if old else "",
        )
        return commented(text)

    def _listening(self, port: int) -> str:
        tls = " ssl" if self.scheme == "https" else ""
        addresses = self.listen or (f"{port}{tls}", f"[::]:{port}{tls}")
        return "\n    ".join(f"listen {address};" for address in addresses)

    def _tls(self, host: str) -> str:
        certbot = Path("/etc/letsencrypt/live") / host
        return _TLS.format(
            certificate=_quoted(self.certificate or certbot / "fullchain.pem"),
            certificate_key=_quoted(self.certificate_key or certbot / "privkey.pem"),
        )


def _own(host: str) -> str:
    """The host as a part of names: variables and caches of nginx are common to all its hosts."""
    return "_" + re.sub(r"[^A-Za-z0-9]", lambda each: "__" if each[0] == "-" else "_", host)


def system_location(root: str, media_url: str) -> str | None:
    """What sends browsers on from where Mastodon served media of its disk (`/system`), on one line.

    `media_url`: what keys follow. Keys go on as they were sent: nginx would decode them.
    None: nginx would read something else in that address.
    """
    if not _URL.fullmatch(media_url):
        return None
    return (
        f'location ^~ {root}/ {{ if ($request_uri ~ "^{re.escape(root)}/(?<mastodon_medium>[^?]*)")'
        f" {{ return 301 {media_url}$mastodon_medium; }} return 404; }}"
    )


def resolver_address(text: str) -> str | None:
    """The address of a name server as nginx writes it, of one as resolv.conf has it; None if it is none.

    An IPv6 address stands in brackets, with which either may have a port. nginx takes no zone (`%eth0`).
    """
    found = _RESOLVER.fullmatch(f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text)
    if not found or not 0 < int(found["port"] or 53) < 1 << 16:
        return None
    try:
        address = ip_address(found["six"] or found["four"])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) != bool(found["six"]):
        return None
    host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    return f"{host}:{found['port']}" if found["port"] else host


def _addresses(resolvers: Iterable[str]) -> str:
    for each in resolvers:
        if resolver_address(each) != each:
            raise UsageError(
                tr("the name server {address!r} cannot be written for nginx", address=each),
                hint=tr("it takes addresses alone, such as 192.0.2.1 or [2001:db8::1]"),
            )
    return " ".join(resolvers)


def _place(store: PublicStore, role: str, own: str, absent: str) -> str:
    """How a store is asked."""
    if isinstance(store, PublicFolder):
        return _FOLDER.format(role=role, own=own, path=_quoted(store.path), absent=absent)
    if not _URL.fullmatch(store.url):
        raise UsageError(
            tr("the address {url!r} cannot be written for nginx", url=store.url),
            hint=tr("write special characters in it as %XX"),
        )
    failures = " 500 502 503 504" if role == "new" else ""
    parts = urlsplit(store.url)
    tls = ""
    if parts.scheme == "https":
        certificates = _quoted(store.certificates or _SYSTEM_CERTIFICATES)
        tls = (_VERIFIED if store.verified else _UNVERIFIED).format(certificates=certificates)
    return _BUCKET.format(role=role, own=own, url=store.url, tls=tls, absent=absent, failures=failures)


def _alternatives(prefixes: Iterable[str]) -> str:
    """For a regular expression within quotes: any of them, or none."""
    return _escaped("".join(f"{re.escape(prefix)}|" for prefix in dict.fromkeys(prefixes) if prefix))


def _escaped(text: str) -> str:
    """What stands between quotes, so that it ends where they do and nginx has it as it is."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _quoted(path: Path) -> str:
    """A path as nginx reads it. Nothing can be put before a `$` to make it an ordinary character."""
    text = str(path)
    if re.search(r"[$\n\r]", text):
        raise UsageError(
            tr(
                "the path {text!r} cannot be written for nginx: a `$` begins a variable there, and a line has to be"
                " one",
                text=text,
            ),
            hint=tr("reach the folder by a link of another name"),
        )
    return f'"{_escaped(text)}"'


_ABOUT = {
    Fallback.ALL: "#: all\n#\n#: all_means\n",
    Fallback.CACHE: "#: cache\n#\n#: cache_means\n",
    Fallback.NONE: "#: none\n",
}
_SCOPES = {
    Fallback.ALL: """\
    default @old;
    "~^(?:cache/)?backups/" @absent;  #: backups
""",
    Fallback.CACHE: """\
    default @absent;
    "~^cache/(?!backups/)" @old;
""",
    Fallback.NONE: """\
    default @absent;
""",
}

_HOST = """\
{about}#
#: where

proxy_cache_path {cache} levels=1:2 keys_zone=mastodon_media{own}:20m max_size=10g inactive=7d use_temp_path=off;

#: medium
map $request_uri $mastodon_media{own} {{
    default "";
    "~*(^|/|%2f)(\\.|%2e)(\\.|%2e)?(/|%2f|\\?|$)" "";
    "~*(/|%2f)(\\?|$)" "";
    "~^/(?:{prefixes})(?<mastodon_key>(?:cache/)?(?:{tables})/[^?]+)" $mastodon_key;
}}

#: fallback
map $mastodon_media{own} $mastodon_fallback{own} {{
{fallback}}}

#: age
map $mastodon_store:$upstream_http_cache_control $mastodon_cache_control{own} {{
    default "{cache_control}";
{told}}}
{files}
server {{
    {listen}
    server_name {name};
{tls}
    access_log off;
    server_tokens off;
    set $mastodon_store none;
    if ($request_method !~ "^(GET|HEAD)$") {{ return 405; }}
    if ($mastodon_media{own} = "") {{ return 404; }}

    add_header Cache-Control $mastodon_cache_control{own};
    add_header Access-Control-Allow-Origin "*" always;
    add_header X-Content-Type-Options nosniff always;
    add_header Content-Security-Policy "default-src 'none'; form-action 'none'" always;
    add_header X-Media-Store $mastodon_store always;
    add_header X-Cache-Status $upstream_cache_status always;
{resolver}
    #: visitors
    proxy_http_version 1.1;
    proxy_pass_request_headers off;
    proxy_pass_request_body off;
    proxy_set_header User-Agent mastodon-media;
    proxy_force_ranges on;  #: ranges
    proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires X-Accel-Redirect;
{hidden}
    proxy_connect_timeout 5s;
    proxy_read_timeout 30s;
    proxy_intercept_errors on;
    recursive_error_pages on;

    #: forgotten
    proxy_cache mastodon_media{own};
    proxy_cache_key "$mastodon_store $mastodon_media{own}";
    proxy_cache_valid 200 1d;
    proxy_cache_valid 403 404 1m;
    proxy_cache_lock on;
    proxy_cache_bypass $http_x_media_fresh;  #: fresh
    proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;

    location / {{
{new}    }}
{old}
    location @absent {{
        set $mastodon_store none;
        if ($upstream_status ~ "^5") {{ return 502; }}  #: unanswered
        return 404;
    }}
}}
"""

_TLS = """\
    ssl_certificate {certificate};
    ssl_certificate_key {certificate_key};
    # http2 on;  # from nginx 1.25.1
"""

_OLD = """\

    location @old {{
        #: log
        access_log {log};
{old}    }}
"""

_TOLD = """\
    "~*^{role}:(?<mastodon_told>.*max-age.*)$" $mastodon_told;
"""

_FILES = """\

#: file
map $uri $mastodon_file{own} {{
    default "";
    "~(?s)^/(?:{prefixes})(?<mastodon_path>.+)$" /$mastodon_path;
}}
"""

_NAME_SERVERS = """\

    #: resolvers
    resolver {addresses} valid=60s;
    resolver_timeout 5s;
"""

_BUCKET = """\
        set $mastodon_store {role};
        proxy_pass {url}$mastodon_media{own};
{tls}        error_page 403 404{failures} = {absent};
"""

_VERIFIED = """\
        proxy_ssl_server_name on;
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 4;
        proxy_ssl_trusted_certificate {certificates};
"""

_UNVERIFIED = """\
        proxy_ssl_server_name on;
        proxy_ssl_verify off;  #: unverified
"""

_FOLDER = """\
        #: user
        set $mastodon_store {role};
        root {path};
        try_files $mastodon_file{own} {absent};
"""
