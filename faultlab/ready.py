"""Loaded last by the process that commands are forked from: what each of them would do first is done once.

A client of S3 reads megabytes of descriptions, the same for all. And what is here by now is garbage for none of the
children: where they do not look for any in it, they need no copies of their own of the memory it lies in.
"""

from __future__ import annotations

import gc

from mastosync.config import S3Config
from mastosync.store.s3.boto_client import make_client

make_client(S3Config(endpoint_url="http://127.0.0.1:9", bucket="nobody", region="us-east-1"), 1).close()
gc.collect()
gc.freeze()
