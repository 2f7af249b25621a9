"""Headers between people and HTTP."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mastosync.store.s3.headers import decode_metadata, encode_metadata


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("=?UTF-8?B?w6Q=?=")
@example("=?utf-8?q?a?= =?utf-8?q?b?=")
@example("a\r\nX-Injected: b")
@example(" ")
def test_any_text_survives_in_a_header_of_plain_ascii(text: str) -> None:
    header = encode_metadata(text)
    assert header.isascii()
    assert header.isprintable()
    assert header == header.strip()
    assert decode_metadata(header) == text


@pytest.mark.parametrize("text", ["", "plain", "two words", 'a=b; c="d"', "100%"])
def test_what_needs_no_form_of_its_own_is_sent_as_it_is(text: str) -> None:
    assert encode_metadata(text) == text


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("=?UTF-8?B?w6Q=?=", "ä"),
        ("=?utf-8?q?=C3=A4_b?=", "ä b"),
        ("=?iso-8859-1?Q?=E4?=", "ä"),
        ("ä".encode().decode("latin-1"), "ä"),  # UTF-8, as Python's HTTP client reads it
        ("\xe4", "\xe4"),  # really Latin-1
        ("=?UTF-8?B?abcde?=", "=?UTF-8?B?abcde?="),
        ("=?x-none?Q?a?=", "=?x-none?Q?a?="),
        ("=?\x92tf-8?B?w6Q=?=", "=?\x92tf-8?B?w6Q=?="),
        ("=?UTF-8?B?/w==?=", "=?UTF-8?B?/w==?="),
        ("a =? b", "a =? b"),
    ],
)
def test_what_others_have_written_is_understood_or_left_alone(header: str, text: str) -> None:
    assert decode_metadata(header) == text


@given(st.text(st.characters(max_codepoint=255)))
def test_no_header_is_too_strange_to_be_read(header: str) -> None:
    decode_metadata(header)
    decode_metadata(f"=?{header}?=")
    decode_metadata(f"=?UTF-8?B?{header}?=")
    decode_metadata(f"=?{header}?Q?abc?=")
