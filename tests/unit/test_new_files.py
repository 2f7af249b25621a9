"""Whose the files are that root makes in somebody else's folder: theirs, whatever the command."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import NoCredentialsError

from mastosync.app.files import pin
from mastosync.cli.main import main
from mastosync.config import S3Config, Secret, load_config
from mastosync.doctor.manifest import _refusal
from mastosync.manifest import Manifest, writer_lock
from mastosync.model import Owner
from mastosync.new_files import made, make_folders, opened_or_made
from mastosync.store.s3.boto_client import BotoTranslator, credentials_of, make_client
from mastosync.store.s3.route import closed_folder_of_aws, plain_route
from mastosync.store.s3.translation import Request, scrubber_of
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.unit.app import test_files
from tests.unit.test_new_files_written import WRITERS, site

MASTODON = 12_345, 12_346
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others, and become them")
__all__ = ["site"]  # a folder with a configuration and a planned manifest, in which commands run


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    os.setresuid(user, user, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def owners_in(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in folder.iterdir()}


def open_to_all(site: Path) -> None:
    """pytest's own folders are closed."""
    for folder in (site, *site.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (site / "config.ini").chmod(0o644)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Mastodon's, which root works in."""
    folder = tmp_path / "home"
    folder.mkdir()
    os.chown(folder, *MASTODON)
    return folder


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_folder_that_somebody_else_makes_at_that_moment_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def slower(path: Path) -> None:
        mkdir(path)
        mkdir(path)

    monkeypatch.setattr(Path, "mkdir", slower)
    make_folders(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folders(tmp_path / "file")


@as_root
class TestRoot:
    @pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
    def test_every_file_that_a_command_makes_is_the_folders_owners(self, home: Path, command: list[str]) -> None:
        assert main(["--log-file", str(home / "run.log"), *command, str(home / "made")]) in (0, 3)
        found = owners_in(home)
        assert "made" in found
        assert set(found.values()) == {MASTODON}
        assert {path.stat().st_mode & 0o777 for path in home.iterdir()} <= {0o600, 0o644}

    def test_so_is_the_manifest_with_its_lock_and_all_that_sqlite_lays_beside_it(self, home: Path) -> None:
        path = home / "m.db"
        with (
            writer_lock(path, "plan"),
            planned(path, [entry(1)]),
            Manifest.open(path) as manifest,
            manifest.transaction(),
        ):
            found = owners_in(home)
        assert {"m.db", "m.db.lock", "m.db-wal", "m.db-shm"} <= found.keys()
        assert set(found.values()) == {MASTODON}

    def test_what_replaces_a_file_belongs_to_whom_that_belonged(self, home: Path) -> None:
        for name, owner in {"mine": (0, 0), "others": (23_456, 7)}.items():
            (home / name).write_text("old")
            os.chown(home / name, *owner)
            assert main([*WRITERS["settings"], str(home / name), "--force"]) == 3
            assert owners_in(home)[name] == owner
            assert (home / name).stat().st_mode & 0o777 == 0o600

    def test_pinned_secrets_belong_to_whom_the_configuration_belongs(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / ".env.production").write_text(test_files.ENV)
        (tmp_path / "new-key").write_text("new secret\n")
        config = home / "config.ini"
        config.write_text(test_files.CONFIG.format(folder=tmp_path))
        os.chown(config, 0, MASTODON[1])
        pin(load_config(config, {}), {})
        assert set(owners_in(home).values()) == {(0, MASTODON[1])}

    def test_a_log_that_is_there_stays_whose_it_is(self, home: Path) -> None:
        (home / "run.log").touch()
        os.close(opened_or_made(home / "run.log"))
        assert set(owners_in(home).values()) == {(0, 0)}

    def test_what_lies_behind_a_link_is_not_given_away(self, home: Path, tmp_path: Path) -> None:
        (home / "run.log").symlink_to(tmp_path / "elsewhere")
        os.close(opened_or_made(home / "run.log"))
        assert (tmp_path / "elsewhere").stat().st_uid == 0

    def test_folders_are_given_too_and_those_that_are_there_left(self, home: Path) -> None:
        (home / "mine").mkdir()
        make_folders(home / "a" / "b")
        make_folders(home / "mine" / "c")
        assert owners_in(home) == {"a": MASTODON, "mine": (0, 0)}
        assert owners_in(home / "a") == {"b": MASTODON}
        assert owners_in(home / "mine") == {"c": (0, 0)}

    def test_a_disk_that_gives_nothing_away_is_told_of(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refuse(*_: int) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "fchown", refuse)
        assert main(["init", "--output", str(home / "made")]) == 0
        told = capsys.readouterr().err
        assert f"{home / 'made'}" in told or "made" in told
        assert "belongs to root" in told
        assert "12345:12346" in told

    @pytest.mark.parametrize("like", [False, True])
    def test_it_names_whose_the_file_should_be(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, like: bool
    ) -> None:
        monkeypatch.setattr(os, "fchown", refusing(errno.EPERM))
        (home / "other").touch()
        os.chown(home / "other", 23_456, 34_567)
        os.close(made(home / "made", like=(home / "other").stat() if like else None))
        (told,) = caplog.messages
        assert f"not to {'23456:34567' if like else '12345:12346'}, who cannot use it" in told
        assert "folder" not in told.replace(str(home), "")

    def test_a_file_that_cannot_be_given_for_another_reason_is_not_left(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mastosync.new_files.give", refusing(errno.ESTALE))
        with pytest.raises(OSError, match="tale"):
            made(home / "made")
        assert list(home.iterdir()) == []

    def test_init_says_whose_its_file_is(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["init", "--output", str(home / "made")]) == 0
        assert "belongs to 12345:12346" in capsys.readouterr().out

    @pytest.mark.parametrize("command", [["status"], ["copy"]], ids=" ".join)
    def test_whoever_cannot_open_roots_manifest_is_told_what_to_do(
        self, site: Path, capsys: pytest.CaptureFixture[str], command: list[str]
    ) -> None:
        open_to_all(site)
        os.chown(site, *MASTODON)
        (site / "mastosync.db.lock").touch(mode=0o600)
        with acting_as(MASTODON[0]):
            assert main(command) == 6
            refusal = _refusal(site / "mastosync.db")
        for told in (capsys.readouterr().err, refusal.hint if refusal else ""):
            assert "belongs to root" in told
            assert f"chown {Owner(MASTODON[0], os.getegid())} {site}/mastosync.db*" in told


@as_root
class TestClosedFolders:
    """What may not be looked into says why, and is no bug."""

    @pytest.mark.parametrize(
        ("command", "code"),
        [
            (["--manifest", "{closed}/m.db", "status"], 6),
            (["--manifest", "{closed}/m.db", "manifest", "check"], 6),
            (["--manifest", "{closed}/m.db", "manifest", "backup"], 6),
            (["init", "--output", "{closed}/c.ini"], 8),
        ],
        ids=str,
    )
    def test_each_command_says_so(
        self, site: Path, capsys: pytest.CaptureFixture[str], command: list[str], code: int
    ) -> None:
        (site / "closed").mkdir(mode=0o700)
        open_to_all(site)
        with acting_as(MASTODON[0]):
            found = main([part.format(closed="closed") for part in command])
            assert _refusal(site / "closed" / "a" / "m.db"), "doctor says so, too"
        told = capsys.readouterr()
        assert "bug" not in told.err
        assert found == code, told.err

    def test_a_home_that_may_not_be_looked_into_has_no_keys(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path / "root"
        (home / ".aws").mkdir(parents=True)
        home.chmod(0o700)
        monkeypatch.setenv("HOME", str(home))
        config = S3Config(
            access_key="a", secret_key=Secret("b"), endpoint_url="https://s3.example.com", bucket="media", region="r"
        )
        with acting_as(MASTODON[0]):
            assert plain_route(config) is not None, "the configuration says it all"
            assert closed_folder_of_aws() == home / ".aws"
            credentials_of(make_client(config, 1))
            none = BotoTranslator("bucket", scrubber_of(config)).translation(NoCredentialsError(), Request("list", ""))
        assert f"may not read {home / '.aws'}" in none.hint
        assert closed_folder_of_aws() is None
        assert plain_route(replace(config, region="aws-global")) is None


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    os.close(made(tmp_path / "a"))
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        made(tmp_path / "a")


def test_nobody_but_root_gives_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    monkeypatch.setattr(os, "fchown", lambda *_: pytest.fail("it tries"))
    with caplog.at_level(logging.WARNING):
        os.close(made(tmp_path / "a"))
    assert not caplog.messages
