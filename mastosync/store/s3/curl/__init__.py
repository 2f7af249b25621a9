"""S3 with libcurl for small objects, behind the contract of `ObjectStore`."""

from mastosync.store.s3.curl.multiplexer import CurlMultiplexer
from mastosync.store.s3.curl.store import CurlStore

__all__ = ["CurlMultiplexer", "CurlStore"]
