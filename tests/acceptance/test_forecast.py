"""What is told before a move begins is what then happens; and the cache of others can be left behind."""

from __future__ import annotations

import json
from collections import Counter

from lab.buckets import BucketPair
from tests.acceptance.conftest import Migration, MigrationFactory

CACHE = ("media_attachments", "preview_cards")


def age(migration: Migration, days: int) -> None:
    """Let the files of some posts of others be so old."""
    with migration.database.connect() as connection:
        connection.execute(
            "UPDATE media_attachments SET file_updated_at = now() - %s * interval '1 day'"
            " WHERE remote_url <> '' AND id IN (SELECT id FROM media_attachments WHERE remote_url <> '' AND"
            " file_file_name <> '' ORDER BY id LIMIT 5)",
            (days,),
        )


def states(migration: Migration) -> Counter[tuple[str, str | None]]:
    return Counter((line["state"], line["reason"]) for line in migration.site.listed())


def test_a_dry_run_tells_what_a_copy_will_do_and_writes_nothing(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets)
    site, objects = migration.site, migration.instance.objects
    site.configure(prices={"source_egress_per_gb": "1000", "destination_put_per_1000": "5", "currency": "EUR"})
    told = json.loads(site.run("plan", "--dry-run", "--json", "--rate", "10").stdout)
    assert sorted(path.name for path in site.folder.iterdir()) == ["config.ini"]
    assert told["dry_run"] is True
    planned = told["forecast"]["planned"]
    assert planned["objects"] == told["total"]["seen"] == len(objects)
    assert planned["requests"]["destination"]["put"] == len(objects)
    assert [round(each["once"], 3) for each in planned["money"]][1] == round(len(objects) * 0.005, 3)
    assert planned["seconds"][0]["seconds"] >= len(objects) * 2 / 10 - 1
    directories = {each.key.rpartition("/")[0] for each in objects}
    assert told["forecast"]["requests"]["listing_tool"]["source"]["list"] > len(directories)

    assert told["cache_control"] == "public, max-age=315576000, immutable"

    text = site.run("plan", "--dry-run").stdout
    for said in (
        "no Cache-Control at the source get public, max-age=315576000, immutable",
        "of which cache",
        "a tool that lists",
        "time: at least",
        "EUR for the copy",
        "--max-age 30",
    ):
        assert said in text, said


def test_old_files_of_others_are_left_out_until_somebody_wants_them(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    site = migration.site
    age(migration, 400)
    everything = len(migration.instance.objects)
    planned = site.run("plan", "--max-age", "30")
    assert "left out" in planned.stdout
    left_out = [line for line in site.listed() if line["reason"] == "excluded"]
    assert left_out
    assert {line["table"] for line in left_out} <= set(CACHE)
    status = site.status()
    assert status["totals"]["pending"] == everything - len(left_out)
    assert sum(line["amount"]["objects"] for line in status["survey"]["lines"] if line["excluded"]) == len(left_out)
    assert status["forecast"]["planned"]["objects"] == everything - len(left_out)
    assert "survey" not in status["snapshot"]
    assert "everything to migrate, as of plan 1 (" in site.run("status").stdout

    site.run("copy", code=None)
    done = [line["key"] for line in site.listed("--state", "done")]
    assert not {line["key"] for line in left_out} & set(done)
    site.run("manifest", "check")

    site.run("plan")
    assert states(migration)["pending", None] == len(left_out)
    assert [line["key"] for line in site.listed("--state", "done")] == done
    site.configure(plan={"max_age": "30"})
    site.run("plan")
    assert states(migration)["skipped", "excluded"] == len(left_out)
    site.run("manifest", "check")
