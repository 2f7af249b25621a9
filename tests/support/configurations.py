"""What several tests of the configuration need."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

from mastosync.config import (
    Config,
)
from mastosync.config.schema import sections
from mastosync.config.values import Key

Load = Callable[..., Config]


ROOT = Path(__file__).parents[2]


HUNTER = "hunter2"  # the secret of these tests; by its name where a traceback would quote the line


STORES = """
[s3.source]
endpoint_url = https://s3.old.example
bucket = old-media

[s3.destination]
endpoint_url = https://s3.new.example
bucket = new-media
"""


OLD_TOOL = """\
[s3.source]
access_key = AKIAOLD
secret_key = s%cr#t;one
endpoint_url = https://s3.old.example
bucket = old-media

[s3.destination]
access_key = AKIANEW
secret_key = 100%%sure=yes
endpoint_url = https://s3.new.example/
bucket = new-media

[pg.database]
host = 127.0.0.1
port = 5432
user = mastodon
password = p#a;s%s
database = mastodon_production

[pg.tunnel]
enabled = false
ssh_host =
ssh_port =
ssh_user =
ssh_password =
ssh_key =
local_host =
local_port =

[celery]
broker = redis://:brokerpass@localhost:6379/0
backend = redis://:brokerpass@localhost:6379/1
concurrency = 10
log_level = INFO
"""


def everything_said(error: BaseException) -> str:
    """What a log with a full traceback would show, contexts that were suppressed included."""
    said = []
    current: BaseException | None = error
    while current is not None:
        said += [repr(current), str(vars(current)), *traceback.format_exception(current)]
        current = current.__cause__ or current.__context__
    return "\n".join(said)


S3 = "[s3.source]\nbucket = media\n"


ALL_KEYS = [key for section in sections().values() for key in section.keys.values()]


HIDDEN_KEYS = [key for key in ALL_KEYS if key.info.form.hidden]


def valid_text(key: Key) -> str:
    """A text that the key takes and that is not its default."""
    by_name = {"endpoint_url": "https://s3.test", "url": "postgresql://u:p@h/d", "provider": "aws", "types": "backups"}
    by_name |= {"bwlimit": "08:00,5M 23:00,off", "every": "1h30m", "allow_networks": "10.1.0.0/16, fd12::/32"}
    by_name |= {"outage_patience": "90m"}
    if key.name in by_name:
        return by_name[key.name]
    if key.info.form.described().startswith("one of "):
        names = key.info.form.described().removeprefix("one of ").split(", ")
        return next(name for name in names if name != key.default)
    if isinstance(key.default, bool):
        return str(not key.default).lower()
    if isinstance(key.default, int | float) or "number" in key.info.form.described():
        return "33554433" if "size" in key.info.form.described() else "17"
    return "text"
