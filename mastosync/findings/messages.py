"""Messages that several commands share: `doctor`, `cutover` and `report`, some of them `status` and `prune`, too."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mastosync.checking.public_access import FaultKind
from mastosync.findings import Finding, Grade
from mastosync.findings.public_summary import PublicSummary
from mastosync.language import enumerated, joined, tr, trn
from mastosync.manifest import CountLine, Gap, Noted, ObjectSettings, Relation
from mastosync.model import EntryState, Ownership

_USER = "mastodon"  # as Mastodon's own guide has it

READ_BACK_SAMPLE = 1_000
"""Objects that the printed steps read back, as an example of a sample."""


class Notice(NamedTuple):
    """What is known, and what to do about it, for people."""

    message: str
    remedy: str = ""  # empty where nothing need be done


def gap_finding(gap: Gap | None) -> Iterator[Finding]:
    """That the manifest lacks some of what was written to it; nothing if it is whole."""
    if gap is not None:
        yield Finding("gap", Grade.FAILURE, gap.said, gap.remedy)


def relation_notice(found: Relation | None) -> Notice:
    """Whether both stores are one, by what a check has found; None: there was no check."""
    if found is None:
        return Notice(
            tr("not checked yet: are source and destination two stores, or one store under two names?"),
            tr("`mastosync copy` checks it, also when nothing is left to copy"),
        )
    if found is Relation.UNKNOWN:
        return Notice(
            tr("the source does not say whether an object is missing: it may be the destination under another name"),
            tr(
                "allow the key of the source to list the bucket (s3:ListBucket), and run `mastosync copy`: it "
                "checks again, also when nothing is left to copy"
            ),
        )
    if found is Relation.ONE_BUCKET:
        return Notice(tr("source and destination are one bucket with two key prefixes"))
    return Notice(tr("source and destination are two stores: what was written to one was not found at the other"))


def foreign_owner_message(found: Ownership) -> str:
    """That some files in a folder are not Mastodon's; empty: none of those that were checked."""
    first = "." if found.folder.user != found.wanted.user else next(iter(found.others), "")
    return first and tr(
        "some of {path} does not belong to {owner}, such as {first!r}: Mastodon may not be able to read or delete it",
        path=found.path,
        owner=found.wanted,
        first=first,
    )


def root_owner_message(found: Ownership) -> str:
    """That a folder is root's; empty: it is not."""
    if found.wanted.user:
        return ""
    return tr(
        "{path} belongs to root: Mastodon can neither read what is private there nor delete anything", path=found.path
    )


def ownership_remedy(found: Ownership) -> str:
    """How to give all of a folder to Mastodon."""
    if found.wanted.user:
        return tr("as root: `{command}`", command=chown(found, str(found.wanted)))
    return tr(
        "for a backup this is fine. For Mastodon, {giving}, or name its user as `owner` in [filesystem.destination]",
        giving=give_to_mastodon(found),
    )


def give_to_mastodon(found: Ownership) -> str:
    """What gives a folder of root's to Mastodon: no command where this machine knows no such user."""
    import pwd  # noqa: PLC0415 - hardly anybody asks

    try:
        pwd.getpwnam(_USER)
    except KeyError:
        return tr(
            "give {path} to the user that Mastodon runs as (in a container it has a number:"
            " `docker compose exec web id -u`)",
            path=found.path,
        )
    return tr("give it to Mastodon's user, as root: `{command}`", command=chown(found, f"{_USER}:"))


def chown(found: Ownership, owner: str) -> str:
    """The command that gives a folder to somebody, and what its links lead to. The links stay root's: see `Volumes`."""
    links = [shlex.quote(f"{found.path}/{link}") for link in found.links]
    command = " ".join(["chown -R", owner, *places_of(found)])
    return " && ".join([command, *([f"chown -h root: {' '.join(links)}"] if links else [])])


def places_of(found: Ownership) -> list[str]:
    """A folder and what its links lead to, as a shell takes them."""
    return [shlex.quote(found.path), *(shlex.quote(f"{found.path}/{link}/") for link in found.links)]


def exposed_message(objects: int) -> str:
    """How many private objects lie at the destination as they were stored when they were public."""
    return trn(
        "{objects} private object is at the destination, where everybody may be able to read it",
        "{objects} private objects are at the destination, where everybody may be able to read them",
        objects,
        objects=f"{objects:,}",
    )


def lost_by_plan_notice(objects: int) -> Notice:
    """How much plans have lost by `--accept-gone`, and what to do about it."""
    return Notice(
        trn(
            "a plan that was accepted (--accept-gone) lost {objects} object, and no plan has found it again",
            "a plan that was accepted (--accept-gone) lost {objects} objects, and no plan has found them again",
            objects,
            objects=f"{objects:,}",
        ),
        tr(
            "mastosync plan, of the right database; then copy. If all of that was really deleted: `mastosync accept"
            " --gone`"
        ),
    )


def exposed_finding(objects: int) -> Finding:
    """`exposed_message` as a finding."""
    return Finding("exposed", Grade.FAILURE, exposed_message(objects), exposed_remedy())


def exposed_remedy() -> str:
    """How to hide them."""
    return tr(
        "run `mastosync copy` for those that are pending, and `mastosync retry-failed` for those that failed: "
        "both store them again as private. For the rest, run `mastosync verify --public`: remove at the "
        "destination what it can read, and run it again. Or, if nobody can read the bucket without credentials, "
        "set `[copy] private_objects = copy`, and copy again"
    )


def with_accepted_losses(said: str, lines: Iterable[CountLine]) -> str:
    """A message about losses, and how many of them were accepted (`mastosync accept`). They are lost all the same."""
    accepted = sum(line.accepted for line in lines)
    if not accepted:
        return said
    return trn(
        "{said} ({accepted} of them is accepted as lost)",
        "{said} ({accepted} of them are accepted as lost)",
        accepted,
        said=said,
        accepted=f"{accepted:,}",
    )


def retry_remedy(failed: Iterable[CountLine]) -> str:
    """How to retry what has failed, including what was accepted as lost, which is left alone otherwise."""
    command = "mastosync retry-failed" + (" --accepted" if any(line.accepted for line in failed) else "")
    return tr("{command}; `mastosync ls --state failed` names them", command=command)


def settings_notice(current: ObjectSettings | None, others: Noted) -> Notice | None:
    """That objects may have been stored with `others` than the `current` settings; None: none were."""
    if current is None or not others:
        return None
    remedy = tr("`mastosync apply-settings` puts that right, and uploads nothing")
    if set(others) == {None}:
        return Notice(tr("adopted objects were not checked for cache_control, acl and storage_class"), remedy)
    names = [
        name
        for name, value in current._asdict().items()
        if any(each is None or getattr(each, name) != value for each in others)
    ]
    return Notice(
        tr("some objects at the destination may have another {names} than is configured now", names=enumerated(names)),
        remedy,
    )


def cache_control_message(cache_control: str | None, *, from_disk: bool) -> str:
    """Which Cache-Control objects get that have none of their own. `from_disk`: the source is a folder."""
    if not cache_control:
        return (
            tr("objects get no Cache-Control, as a disk keeps none: browsers ask for each again and again")
            if from_disk
            else tr("objects that have no Cache-Control at the source get none")
        )
    return (
        tr("all objects get the Cache-Control {value}, as a disk keeps none", value=cache_control)
        if from_disk
        else tr("objects that have no Cache-Control at the source get {value}", value=cache_control)
    )


def nothing_tried(counts: Sequence[CountLine]) -> bool:
    """Whether something is pending, and nothing was tried yet: nothing is done, and nothing failed."""
    objects = {state: sum(line.objects for line in counts if line.state is state) for state in EntryState}
    return objects[EntryState.PENDING] > 0 and not objects[EntryState.DONE] and not objects[EntryState.FAILED]


def never_read_message() -> str:
    """That nobody has read the destination as browsers will."""
    return tr("nobody has tried yet to read objects at the new store as browsers will, without credentials")


def uncovered_notice(checks: PublicSummary) -> Notice:
    """Which tables no `verify --public` has covered."""
    tables = enumerated(checks.uncovered)
    said = tr("too few objects of {tables} were tried without credentials", tables=tables)
    if checks.untried:
        said = tr(
            "no objects of {tables} were tried without credentials since the last `{command}`",
            tables=tables,
            command=checks.before,
        )
    elif checks.before:
        said = tr(
            "too few objects of {tables} were tried without credentials since the last `{command}`",
            tables=tables,
            command=checks.before,
        )
    return Notice(said, checks.remedy)


def correction_of(checks: PublicSummary) -> str:
    """What puts right what `verify --public` has found, by the kinds of faults, and then the command itself."""
    found, steps = checks.by_kind, []
    if checks.told and checks.told.get("anybody_can_list"):
        steps.append(tr("take the right to list the bucket (s3:ListBucket, or READ in its ACL) from everybody"))
    if found[FaultKind.EXPOSED]:
        steps.append(
            tr(
                "nobody but you may read private objects: take that right from everybody in the policy of the bucket; "
                "`mastosync copy` stores them as private again, or says which you have to remove"
            )
        )
    if found[FaultKind.UNREADABLE]:
        steps.append(
            tr(
                "let everybody read public objects: by the policy of the bucket, or by `acl` and `mastosync "
                "apply-settings`; look at `public_url`, too"
            )
        )
    if found[FaultKind.HEADERS]:
        steps.append(
            tr("`mastosync copy` corrects the headers of adopted objects, and `mastosync apply-settings` Cache-Control")
        )
    again = tr("run `{verify}` again, which names the objects", verify=checks.remedy)
    return joined([*(steps or [tr("correct it")]), again])


def undigested_message(objects: int) -> str:
    """Follows how many objects are fine: how many of them have the right size, and no known digest."""
    return tr(", {objects} of them without a digest to compare", objects=f"{objects:,}") if objects else ""


def unidentified_finding(objects: int) -> Finding:
    """How many objects are missing at the source, and may lie at the destination all the same."""
    return Finding(
        "unproven",
        Grade.WARNING,
        trn(
            "{objects} object is missing at the source, but the new store has something under its key, probably stored"
            " by Mastodon itself",
            "{objects} objects are missing at the source, but the new store has something under each key, probably"
            " stored by Mastodon itself",
            objects,
            objects=f"{objects:,}",
        ),
        tr(
            "`mastosync ls --state failed --reason missing --format jsonl` tells when it was stored, and why mastosync"
            " cannot count it as done"
        ),
    )


def losses_unknown_finding() -> Finding:
    """That nobody knows yet what the source has lost."""
    said = tr("what the source has lost is not known yet, as nothing was copied so far")
    return Finding("lost", Grade.WARNING, said, "mastosync copy")
