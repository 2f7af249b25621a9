"""A rival: what most people write first, boto3 in a pool of threads.

    python -m benchmarks.boto3_copy --config config.ini --keys keys.txt --workers 32

It keeps no books and compares nothing but what boto3 compares by itself.
"""

from __future__ import annotations

import argparse
import configparser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.session import Session
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def main() -> None:
    """Copy every key of the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="with the two stores, as mastosync has it")
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=32)
    options = parser.parse_args()
    config = configparser.ConfigParser(interpolation=None)
    config.read(options.config)
    source, destination = config["s3.source"], config["s3.destination"]
    reader, writer = _client(source, options.workers), _client(destination, options.workers)

    def copy(key: str) -> None:
        found = reader.get_object(Bucket=source["bucket"], Key=key)
        with found["Body"] as body:
            writer.put_object(Bucket=destination["bucket"], Key=key, Body=body.read(), ContentType=found["ContentType"])

    with ThreadPoolExecutor(options.workers) as pool:
        for _ in pool.map(copy, options.keys.read_text(encoding="utf-8").splitlines()):
            pass


def _client(section: configparser.SectionProxy, connections: int) -> S3Client:
    return Session().client(
        "s3",
        endpoint_url=section["endpoint_url"],
        aws_access_key_id=section["access_key"],
        aws_secret_access_key=section["secret_key"],
        region_name="us-east-1",
        verify=section.get("ca_bundle"),
        # by TLS it would send objects in chunks of its own form, which the null store does not know
        config=Config(max_pool_connections=connections, request_checksum_calculation="when_required"),
    )


if __name__ == "__main__":
    main()
