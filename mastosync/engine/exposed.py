"""What everybody may be able to read although it is private, in words for people."""

from __future__ import annotations

from mastosync.language import tr, trn


def exposed_told(objects: int) -> str:
    """How much of what was kept back lies at the destination as it was stored when it was public."""
    return trn(
        "{objects} private object lies at the destination, where everybody may be able to read it",
        "{objects} private objects lie at the destination, where everybody may be able to read them",
        objects,
        objects=f"{objects:,}",
    )


def hiding() -> str:
    """What hides them."""
    return tr(
        "`mastosync verify --public` asks for them first: remove there what it can read, and run it once more; or, if"
        " nobody can read the bucket without credentials: `[copy] private_objects = copy`, and copy again"
    )
