"""S3 by boto3, behind the contract of `ObjectStore`."""

from mastosync.store.s3.store import S3Store

__all__ = ["S3Store"]
