"""What `doctor` and `cutover` say of whose files a folder holds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mastosync.cutover import assess_cutover
from mastosync.doctor.checks import OneRetry, Reporter, drained
from mastosync.doctor.folder import CheckedFolder, check_owner, check_source_folder
from mastosync.findings import CheckSubject, Finding, Grade
from mastosync.model import Access, Owner, Ownership
from mastosync.runtime.stop import StopSignal
from tests.support.cutover_evidence import evidence

MASTODON, BACKUP, ROOT = Owner(12_345, 12_345), Owner(23_456, 23_456), Owner(0, 0)
OWN = Ownership("/new disk", MASTODON, MASTODON, MASTODON, gives=False, others=())
BY_ROOT = replace(OWN, runs_as=ROOT, gives=True)
BY_BACKUP = replace(OWN, runs_as=BACKUP)
STRAY = replace(OWN, others=("cache", "media_attachments"))
LINKED = replace(STRAY, links=("b",))
OF_ROOT = Ownership("/new disk", ROOT, ROOT, ROOT, gives=False, others=())
ELSEWHOSE = replace(BY_ROOT, folder=ROOT)  # `owner` names Mastodon, and the folder is root's
CHOWN = "chown -R 12345:12345 '/new disk'"


@pytest.fixture(autouse=True)
def without_mastodon(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where Mastodon runs in a container: no user has its name."""
    monkeypatch.setattr("mastosync.findings.messages._USER", "nobody-has-this-name")


def doctored(found: Ownership, made: Owner, *, mode: int = 0o644, folder: int = 0o755) -> Finding:
    return check_owner(Reporter(CheckSubject.DESTINATION), found, Access(made, mode, folder))


@pytest.mark.parametrize(
    ("found", "made", "grade", "said", "remedy"),
    [
        (OWN, MASTODON, Grade.OK, "belongs to 12345:12345, as it should", ""),
        (OWN, Owner(12_345, 7), Grade.OK, "Mastodon can read and delete it", ""),
        (BY_ROOT, MASTODON, Grade.OK, "runs as root: what it writes is given to 12345:12345", ""),
        (BY_ROOT, ROOT, Grade.WARNING, "neither read what is private", CHOWN),
        (BY_BACKUP, BACKUP, Grade.WARNING, "nor delete anything", "run mastosync as that user"),
        (STRAY, MASTODON, Grade.WARNING, "such as 'cache'", CHOWN),
        (LINKED, MASTODON, Grade.WARNING, "such as 'cache'", f"{CHOWN} '/new disk/b/' && chown -h root: '/new disk/b'"),
        (ELSEWHOSE, MASTODON, Grade.WARNING, "such as '.'", CHOWN),
        (OF_ROOT, ROOT, Grade.WARNING, "belongs to root", "/new disk to the user that Mastodon runs as"),
    ],
)
def test_the_doctor_tells_what_mastodon_can_do(
    found: Ownership, made: Owner, grade: Grade, said: str, remedy: str
) -> None:
    told = doctored(found, made)
    assert told.grade is grade
    assert said in told.message.replace("root:root", "0:0")
    assert remedy in told.remedy


@pytest.mark.parametrize(
    ("group", "mode", "folder", "said"),
    [
        (23_456, 0o644, 0o755, "can read what is public, and can neither"),
        (23_456, 0o640, 0o750, "can neither read nor delete"),
        (12_345, 0o640, 0o750, "can read what is public, and can neither"),
        (12_345, 0o644, 0o775, "can read what is public and delete all of it, and cannot read what is private"),
        (12_345, 0o600, 0o770, "can delete it, and cannot read it"),
        (23_456, 0o644, 0o777, "can read what is public and delete all of it, and cannot read what is private"),
    ],
)
def test_modes_and_groups_tell_what_it_can_do_with_files_of_others(
    group: int, mode: int, folder: int, said: str
) -> None:
    assert said in doctored(BY_BACKUP, Owner(BACKUP.user, group), mode=mode, folder=folder).message


@pytest.mark.parametrize(
    ("found", "said", "remedy"),
    [
        (None, "", ""),
        (OWN, "", ""),
        (BY_ROOT, "runs as root. /new disk, and the files", "find '/new disk' ! -type l ! -user 12345"),
        (STRAY, "such as 'cache'", CHOWN),
        (OF_ROOT, "/new disk belongs to root", "/new disk to the user that Mastodon runs as"),
    ],
)
def test_a_cutover_tells_it_once_and_gives_no_folder_of_root_to_mastodon(
    found: Ownership | None, said: str, remedy: str
) -> None:
    told = [each for each in assess_cutover(evidence(ownership=found)).findings if each.check == "owner"]
    grade = Grade.FAILURE if found is OF_ROOT else Grade.WARNING
    assert [(each.grade, said in each.message, remedy in each.remedy) for each in told] == (
        [(grade, True, True)] if said else []
    )


def test_a_command_names_mastodons_user_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = next(each for each in assess_cutover(evidence(ownership=OF_ROOT)).findings if each.check == "owner")
    assert "chown" not in finding.remedy
    assert "`docker compose exec web id -u`" in finding.remedy
    monkeypatch.setattr("mastosync.findings.messages._USER", "root")  # who is everywhere
    finding = next(each for each in assess_cutover(evidence(ownership=OF_ROOT)).findings if each.check == "owner")
    assert finding.remedy.endswith("`chown -R root: '/new disk'`")


def test_why_nobody_can_tell_whose_a_folder_is_is_said() -> None:
    findings = assess_cutover(evidence(unseen=("it cannot be read", "do this"))).findings
    (told,) = (each for each in findings if each.check == "owner")
    assert (told.grade, told.message, told.remedy) == (Grade.WARNING, "it cannot be read", "do this")


def test_a_folder_without_an_object_is_no_source() -> None:
    """It has files, and none that a key can be of."""
    store: Any = SimpleNamespace(check=lambda: None)
    probe: Any = SimpleNamespace(first_key=lambda: "")
    end = CheckedFolder(Reporter(CheckSubject.SOURCE), store, probe, OneRetry(StopSignal()))
    (folder, *others), _ = drained(check_source_folder(end, list))
    assert (folder.check, folder.grade, folder.message) == (
        "folder",
        Grade.FAILURE,
        "it can be read, and holds no object",
    )
    assert {each.grade for each in others} == {Grade.SKIPPED}
