"""The comments in the configuration of nginx, in the user's language."""

from __future__ import annotations

import re

from mastosync.language import deferred, say
from mastosync.terminal_text import wrapped

_WIDTH = 120
_COMMENT = re.compile(r"^(?P<before>.*)#: (?P<name>[a-z_]+)$", re.MULTILINE)
_COMMENTS = {
    "all": deferred(
        "The media host of Mastodon. It asks the new store first, and the old store for what the new one does not have."
    ),
    "all_means": deferred(
        "A store answers 404 for an object that it does not have, or 403 to readers who may not list the "
        "bucket. Both lead to the old store. So what users delete, and what Mastodon makes private, can still "
        "be read as long as the old store has it. As soon as all files of this server have arrived, let nginx "
        "ask for `cache/` alone: mastosync cutover --fallback cache"
    ),
    "cache": deferred(
        "The media host of Mastodon. It asks the new store first, and the old store for files of other "
        "servers that the new one does not have."
    ),
    "cache_means": deferred(
        "A store answers 404 for an object that it does not have, or 403 to readers who may not list the "
        "bucket. Both lead to the old store for keys under `cache/` alone: what users of this server delete "
        "is gone. Take the fallback down as soon as everything has arrived."
    ),
    "none": deferred("The media host of Mastodon. It asks the new store alone."),
    "where": deferred(
        "Include this file in `http { }` (Debian includes /etc/nginx/conf.d/ there). Then: nginx -t && nginx -s reload"
    ),
    "medium": deferred(
        "The key, exactly as the browser sent it, without the prefix and the query; empty if Mastodon has no "
        "such media. So nobody can list a bucket, read anything else in it, ask for more than an object, or "
        "climb out of it."
    ),
    "fallback": deferred("Where to ask for what the new store does not have."),
    "backups": deferred("they are private"),
    "age": deferred(
        "How long browsers keep an object: as the store says, or else as Mastodon says of each, because the "
        "bytes behind a key never change."
    ),
    "file": deferred("The key as the name of a file."),
    "visitors": deferred("The store learns nothing about visitors, and visitors see none of its own headers."),
    "ranges": deferred("some players ask for parts of a video"),
    "forgotten": deferred("After these times, what was deleted or has become private is gone from the cache, too."),
    "fresh": deferred("so that `mastosync verify --public` gets the answer of the store, not of the cache"),
    "unanswered": deferred("the new store failed, so nobody knows whether it has the object"),
    "log": deferred("When this log no longer grows, nobody needs the old store any more."),
    "resolvers": deferred(
        "Name servers, which are asked again and again, because the addresses of stores change: the first "
        "ones of /etc/resolv.conf on the machine where this file was made. Name those of the machine where "
        "nginx runs."
    ),
    "unverified": deferred("as configured: nobody checks whether this is the store"),
    "user": deferred("nginx runs as its own user, who must be allowed to read the files; private files stay private"),
}
"""What stands at `#: name` in the templates of nginx.py."""


def commented(text: str) -> str:
    """A configuration with its comments in the place of their names (`#: name`)."""
    return _COMMENT.sub(_comment, text)


def _comment(found: re.Match[str]) -> str:
    """A comment in the user's language: lines of its own, or what stands behind a directive."""
    before, text = found["before"], say(_COMMENTS[found["name"]])
    if before.strip():
        return f"{before}# {text}"
    return "\n".join(f"{before}# {line}" for line in wrapped(text, _WIDTH - len(f"{before}# ")))
