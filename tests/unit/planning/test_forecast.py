"""What a move will take, worked out from a survey; and on whose terms."""

from __future__ import annotations

from pathlib import Path

import pytest

from mastosync.app.status import measured_rate, outlook_of
from mastosync.config import Config, load_config
from mastosync.config.providers import PRESETS, PROVIDERS
from mastosync.manifest import WorkQueue
from mastosync.model import EntryState, Outcome
from mastosync.planning.forecast import GB, Bound, Outlook, Requests, Tariff, Terms, outlook
from mastosync.planning.survey import Estimate, Line, Survey
from tests.support.entries import entry
from tests.support.manifests import planned

MIB = 1024**2
PACE = [Bound("pace", "objects", 10.0)]
SURVEY = Survey(
    (
        Line("accounts", True, "older", False, Estimate(objects=1_000, known_bytes=20 * GB)),
        Line(
            "media_attachments", False, "older", False, Estimate(objects=2_000, known_bytes=60 * GB, large=1, parts=4)
        ),
        Line("media_attachments", True, "under_30_days", False, Estimate(objects=500, known_bytes=5 * GB, optional=7)),
        Line(
            "media_attachments",
            True,
            "under_90_days",
            False,
            Estimate(objects=300, estimated_bytes=5 * GB, unsized=300),
        ),
        Line("preview_cards", True, "older", False, Estimate(objects=200, known_bytes=10 * GB)),
        Line("preview_cards", True, "unknown", False, Estimate(objects=50)),
        Line("media_attachments", True, "older", True, Estimate(objects=9_000, known_bytes=900 * GB)),
    ),
    (("accounts", True, 4_000), ("media_attachments", True, 30_000)),
)


def of(way: str, found: Outlook) -> tuple[Requests, Requests]:
    (one,) = (each for each in found.ways if each.name == way)
    return one.source, one.destination


def test_a_copy_reads_and_writes_each_object_once_and_lists_nothing() -> None:
    source, destination = of("copy", outlook(SURVEY, Terms(PACE)))
    assert source == Requests(get=4_050 + 7 + 4)  # optional ones may be asked for once more; ranges of the large one
    assert destination == Requests(put=4_049 + 4 + 2)


def test_a_tool_that_lists_looks_into_every_directory_even_of_what_is_left_out() -> None:
    found = outlook(SURVEY, Terms(PACE))
    source, destination = of("listing_tool", found)
    assert source == Requests(list=34_000, head=4_050, get=4_054)
    assert destination == Requests(head=4_050, put=4_055)
    assert of("listing_tool_again", found) == (Requests(list=34_000), Requests(list=34_000))
    assert of("listing_tool_fast_list", found)[0].list == 14  # 13,050 objects
    assert of("verify", found) == (Requests(), Requests(list=5))


def test_within_a_store_no_bytes_travel() -> None:
    terms = Terms([Bound("bytes", "bytes", 1.0), *PACE], Tariff("USD", "", egress_per_gb=1.0), within_store=True)
    found = outlook(SURVEY, terms)
    assert of("copy", found) == (Requests(head=4_057), Requests(put=4_050))
    assert found.planned.money[0].traffic == 0
    assert found.planned.seconds == (("pace", 405.0), ("bytes", 0.0))


def test_the_slowest_limit_comes_first() -> None:
    bounds = [Bound("both", "both", 100), Bound("source", "source", 1_000), Bound("bytes", "bytes", GB), *PACE]
    seconds = outlook(SURVEY, Terms(bounds)).planned.seconds
    assert seconds == (("pace", 405.0), ("bytes", 100.0), ("both", (4_061 + 4_055) / 100), ("source", 4.061))


def test_money_is_told_for_each_end_in_its_own_currency() -> None:
    source = Tariff("USD", "s", egress_per_gb=0.1, egress_free_gb=40, get_per_1000=1.0)
    destination = Tariff("EUR", "d", put_per_1000=2.0, storage_per_gb_month=0.5)
    old, new = outlook(SURVEY, Terms(PACE, source, destination)).planned.money
    assert (old.currency, round(old.requests, 3), round(old.traffic, 3), old.month) == ("USD", 4.061, 6.0, 0.0)
    assert (new.currency, round(new.once, 3), round(new.month, 3)) == ("EUR", 8.11, 50.0)


def test_what_nobody_knows_the_price_of_is_not_told() -> None:
    assert outlook(SURVEY, Terms(PACE)).planned.money == ()


def test_leaving_the_cache_behind_saves_what_is_known_to_be_old() -> None:
    choices = {choice.option: choice.forecast.amount.objects for choice in outlook(SURVEY, Terms(PACE)).choices}
    assert choices == {"--only local": 2_000, "--max-age 30": 3_550, "--max-age 90": 3_850}


def test_a_choice_that_saves_nothing_is_none() -> None:
    local = Survey(tuple(line for line in SURVEY.lines if not line.remote), ())
    assert outlook(local, Terms(PACE)).choices == ()


# --- terms ---


def config(tmp_path: Path, text: str = "", *, source: str = "", destination: str = "") -> Config:
    file = tmp_path / "config.ini"
    file.touch(mode=0o600)
    file.write_text(f"[s3.source]\nbucket = a\n{source}\n[s3.destination]\nbucket = b\n{destination}\n{text}")
    return load_config(file, {})


OVERSEAS = {
    "source": "endpoint_url = https://nyc3.digitaloceanspaces.com",
    "destination": "endpoint_url = https://x.r2.cloudflarestorage.com",
}


def limits(found: Outlook) -> dict[str, float]:
    return {bound.name: bound.per_second for bound in found.terms.bounds}


def test_the_providers_own_limits_and_prices_hold_where_nothing_else_is_said(tmp_path: Path) -> None:
    found = outlook_of(config(tmp_path, **OVERSEAS), SURVEY)
    assert limits(found) == {"800 requests/s at the source, as its provider publishes": 800}
    source, destination = found.planned.money
    assert PRESETS["do"].as_of in source.origin
    assert PRESETS["do"].source in source.origin
    assert "check" in source.origin
    assert destination.currency == "USD"
    assert destination.requests == pytest.approx(4_055 * 4.5 / 1_000_000)


def test_prices_that_are_given_take_the_place_of_published_ones(tmp_path: Path) -> None:
    text = "[prices]\ncurrency = EUR\nsource_egress_per_gb = 0.5\ndestination = none\n"
    (source,) = outlook_of(config(tmp_path, text, **OVERSEAS), SURVEY).planned.money
    assert (source.currency, source.traffic) == ("EUR", 50.0)
    assert "[prices]" in source.origin


def test_limits_of_ones_own_decide(tmp_path: Path) -> None:
    text = "[copy]\nrate = 50\nbwlimit = 00:00,1M 12:00,3M\n"
    found = limits(outlook_of(config(tmp_path, text, **OVERSEAS), SURVEY, measured=7.0))
    assert list(found.values()) == [50, 50, 2 * MIB, 7.0]
    assert limits(outlook_of(config(tmp_path, text, **OVERSEAS), SURVEY, rate=9))["--rate 9, at the source"] == 9


def test_one_endpoint_has_one_limit(tmp_path: Path) -> None:
    same = "endpoint_url = https://s3.example"
    (bound,) = outlook_of(config(tmp_path, "[copy]\nrate = 50", source=same, destination=same), SURVEY).terms.bounds
    assert bound.of == "both"


def test_without_any_limit_a_pace_is_assumed_and_named_so(tmp_path: Path) -> None:
    same = "endpoint_url = https://s3.example"
    (bound,) = outlook_of(
        config(tmp_path, source=same, destination="endpoint_url = https://x.example"), SURVEY
    ).terms.bounds
    assert (bound.of, bound.per_second) == ("objects", 100)
    assert bound.name.startswith("assumed")


def test_a_folder_charges_nothing_and_has_no_limit(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.touch(mode=0o600)
    file.write_text("[filesystem.source]\npath = /a\n[s3.destination]\nbucket = b\n")
    found = outlook_of(load_config(file, {}), SURVEY)
    assert [money.end for money in found.planned.money] == ["destination"]  # Amazon's
    assert found.planned.money[0].origin.startswith(f"by list prices of {PRESETS['aws'].as_of}")


def test_the_pace_of_the_last_copy_is_asked_of_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    assert measured_rate(path) is None
    with planned(path, [entry(1), entry(2)]) as manifest:
        queue = WorkQueue(manifest)
        queue.start_run(1)
        manifest.connection.execute("UPDATE runs SET started_at = started_at - 10")
        claims = list(queue.iter_claimable())
        queue.commit(
            claims=claims, outcomes=[Outcome(each.entry, EntryState.DONE, size=1, md5=b"1" * 16) for each in claims]
        )
        queue.end_run()
    assert measured_rate(path) == pytest.approx(0.2, rel=0.1)
    path.write_bytes(b"something else")
    assert measured_rate(path) is None


def test_every_preset_is_of_a_provider_and_says_where_and_when_it_was_read() -> None:
    assert PRESETS.keys() <= PROVIDERS.keys()
    for preset in PRESETS.values():
        assert "2025-01" <= preset.as_of <= "2027"
        assert "." in preset.source
