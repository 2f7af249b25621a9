"""Whether Mastodon has left the old store: what its settings say, and what the newest upload does."""

from __future__ import annotations

from mastosync.language import tr
from mastosync.model import Origin
from mastosync.report.evidence import Evidence, Finding, Grade, Switch
from mastosync.report.history import moment

READ_BACK = "mastosync verify --deep --sample 1000"  # so many, as an example


def switched(evidence: Evidence) -> Finding:
    """Whether Mastodon still writes to what may be deleted."""
    file, switch = evidence.switch.file, evidence.switch
    if switch.problem:
        said = tr("{problem}: it is not known whether Mastodon uses the new store already", problem=switch.problem)
        return Finding(
            "switch",
            Grade.NOT_YET,
            said,
            tr("correct the file, its permissions, or its name (--env, or mastodon_file under [env])"),
        )
    if file is None:
        said = tr("it is not known here whether Mastodon uses the new store already")
        remedy = tr("name its settings, or a copy of them: `mastosync report --env FILE`, or mastodon_file under [env]")
        return Finding("switch", Grade.NOT_YET, said, remedy)
    if switch.left:
        return _restarted(evidence) if _planned_since(evidence) else _unplanned(switch)
    if switch.unsure:
        remedy = tr(
            "write the settings that Mastodon runs with into a file, with endpoints and paths as they are here, and"
            " name it: `mastosync report --env FILE` (of a container, `docker compose exec -T web env` prints them)"
        )
        return Finding("switch", Grade.NOT_YET, switch.unsure, remedy)
    said = tr("{file} does not name the new store: Mastodon still uses the old one", file=file)
    return Finding("switch", Grade.NOT_YET, said, tr("mastosync cutover tells the steps"))


def _planned_since(evidence: Evidence) -> bool:
    """Whether a plan has taken in what was uploaded to the old store until the switch. What it has found is counted.

    Where every plan left something out, that is told already.
    """
    plans = [plan for plan in evidence.plans if plan.leaves_nothing_out]
    return not plans or any(plan.began_at >= evidence.switch.changed_at for plan in plans)


def _unplanned(switch: Switch) -> Finding:
    said = tr(
        "{file} was changed at {time} UTC, and nobody has planned everything since: what was uploaded to the old store"
        " until then may lie there alone",
        file=switch.file,
        time=moment(switch.changed_at),
    )
    remedy = tr(
        "`mastosync plan`, then `mastosync copy`: of what is there already nothing is copied twice. If the file was"
        " changed, moved or copied for another reason, do the same."
    )
    return Finding("switch", Grade.NOT_YET, said, remedy)


def _restarted(evidence: Evidence) -> Finding:
    """A file does not tell whether Mastodon has read it. Where its newest upload was found does."""
    switch = evidence.switch
    names = switch.unsure or tr("{file} names the new store", file=switch.file)
    copied, found = (evidence.newest.get(origin, 0) for origin in (Origin.COPIED, Origin.ADOPTED))
    if found > max(copied, switch.changed_at):
        said = tr("{names}; the newest upload ({time} UTC) was found at the new store", names=names, time=moment(found))
        return Finding("switch", Grade.OK, said)
    if copied > max(found, switch.changed_at):
        said = tr(
            "{names}; but the newest upload ({time} UTC, after that file was changed) came from the old store:"
            " Mastodon, or a part of it, still runs with the old settings",
            names=names,
            time=moment(copied),
        )
        remedy = tr(
            "restart Mastodon on every machine and upload a picture. Then run `mastosync plan`, `mastosync copy` and"
            " `{verify}`, and this again",
            verify=READ_BACK,
        )
        return Finding("switch", Grade.NOT_YET, said, remedy)
    if switch.alike:
        remedy = tr(
            "upload a picture, then run `mastosync plan`, `mastosync copy` and `{verify}`, and this again: it looks"
            " where the picture was found. Or name a copy of the file with the endpoint as it is here:"
            " `mastosync report --env FILE`",
            verify=READ_BACK,
        )
        return Finding("switch", Grade.NOT_YET, names, remedy)
    said = tr("{names}; the file alone does not tell whether Mastodon was restarted", names=names)
    remedy = tr(
        "restart Mastodon once more on every machine. Or, to see it, upload a picture, then run `mastosync plan`,"
        " `mastosync copy` and `{verify}`, and this again",
        verify=READ_BACK,
    )
    return Finding("switch", Grade.WARNING, said, remedy)
