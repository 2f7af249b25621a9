"""What S3 stores write: usual listings are read without a parser and tell the same; headers; refusals."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from botocore.parsers import create_parser
from hypothesis import example, given
from hypothesis import strategies as st

from mastosync.store.base import ListedObject, Page
from mastosync.store.s3 import listing
from mastosync.store.s3.listing import page_of
from mastosync.store.s3.protocol import decode_metadata, encode_metadata, error_response, is_plain
from mastosync.store.s3.translation import ErrorResponse, InvalidResponse

AWS = "<Key>{key}</Key><LastModified>{modified}</LastModified><ETag>{etag}</ETag><Size>{size}</Size>"
FORMS = {
    "aws": AWS + "<StorageClass>STANDARD</StorageClass>",
    "with owners": AWS + "<Owner><ID>a</ID><DisplayName>Size</DisplayName></Owner><StorageClass>S</StorageClass>",
    "in another order": "<ETag>{etag}</ETag><Key>{key}</Key><Size>{size}</Size><LastModified>{modified}</LastModified>",
    "on lines": "\n  <Key>{key}</Key>\n  <LastModified>{modified}</LastModified>\n"
    "  <ETag>{etag}</ETag>\n  <Size>{size}</Size>\n",
}
QUOTES = ("&quot;", "&#34;", '"', "")
MODIFIED = "2026-01-01T00:00:00.000Z"

# what XML can hold
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))
listed = st.lists(st.tuples(texts, st.integers(0, 2**50), st.binary(min_size=16, max_size=16)), max_size=5)


def document(contents: str, *, head: str = "<IsTruncated>false</IsTruncated>", declared: str = "") -> bytes:
    body = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{head}{contents}</ListBucketResult>'
    return f"{declared}{body}".encode()


@pytest.fixture
def no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is told without a parser must be told without one."""

    def refuse(*_: object) -> None:
        pytest.fail("a parser was needed")

    monkeypatch.setattr(listing, "document_of", refuse)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("url", [False, True])
@pytest.mark.usefixtures("no_parser")
@given(objects=listed, last=st.booleans(), quotes=st.sampled_from(QUOTES))
def test_the_usual_forms_need_no_parser(
    form: str, url: bool, objects: list[tuple[str, int, bytes]], last: bool, quotes: str
) -> None:
    contents = "".join(
        "<Contents>"
        + FORMS[form].format(
            key=quote(key, safe="/ ").replace(" ", "+") if url else escape(key),
            modified=MODIFIED,
            etag=f"{quotes}{md5.hex()}{quotes}",
            size=size,
        )
        + "</Contents>\n"
        for key, size, md5 in objects
    )
    told = f"<Name>b</Name><IsTruncated>{'false' if last else 'true'}</IsTruncated>"
    if url:
        told += "<EncodingType>url</EncodingType>"
    page = page_of(200, {}, document(contents, head=told, declared='<?xml version="1.0" encoding="UTF-8"?>\n'))
    assert page == Page([ListedObject(key, size, md5.hex(), MODIFIED) for key, size, md5 in objects], last)


OTHERS = {
    "attributes": '<Contents a="1"><Key>k</Key><LastModified>x</LastModified><ETag>e</ETag><Size>1</Size></Contents>',
    "a comment": "<Contents><Key>k<!-- --></Key><LastModified>x</LastModified><ETag>e</ETag><Size>1</Size></Contents>",
    "characters as such": "<Contents><Key><![CDATA[k]]></Key><ETag>e</ETag><Size>1</Size></Contents>",
    "no time": "<Contents><Key>k</Key><ETag>e</ETag><Size>1</Size></Contents>",
    "an empty field": "<Contents><Key>k</Key><LastModified/><ETag>e</ETag><Size>1</Size></Contents>",
    "the ETag twice": "<Contents><Key>k</Key><ETag>f</ETag><LastModified>x</LastModified><ETag>e</ETag><Size>1</Size>"
    "</Contents>",
}


@pytest.mark.parametrize("form", OTHERS)
@pytest.mark.parametrize("usual_before", [0, 2])
def test_any_other_form_is_parsed(form: str, usual_before: int) -> None:
    usual = "".join(
        f"<Contents>{AWS.format(key=f'a{number}', modified='x', etag='f', size=2)}</Contents>"
        for number in range(usual_before)
    )
    page = page_of(200, {}, document(usual + OTHERS[form]))
    assert page.objects[usual_before:] == [ListedObject("k", 1, "e", "")]
    assert page.objects[:usual_before] == [ListedObject(f"a{number}", 2, "f", "") for number in range(usual_before)]


def test_fields_that_are_told_now_in_one_order_and_now_in_another_stay_with_their_objects() -> None:
    one = AWS.format(key="a", modified=MODIFIED, etag="e", size=1)
    other = FORMS["in another order"].format(key="b", modified=MODIFIED, etag="f", size=2)
    page = page_of(200, {}, document(f"<Contents>{one}</Contents><Contents>{other}</Contents>"))
    assert page.objects == [ListedObject("a", 1, "e", MODIFIED), ListedObject("b", 2, "f", MODIFIED)]


@pytest.mark.parametrize(
    ("written", "key"), [("a&#x80;b", "a\x80b"), ("a&#13;b", "a\rb"), ("&amp;#34;&amp;amp;", "&#34;&amp;")]
)
def test_characters_by_number_are_what_xml_means_by_them(written: str, key: str) -> None:
    contents = f"<Contents>{AWS.format(key=written, modified='x', etag='e', size=1)}</Contents>"
    assert [found.key for found in page_of(200, {}, document(contents)).objects] == [key]


def test_other_encodings_are_heeded() -> None:
    declared = '<?xml version="1.0" encoding="iso-8859-1"?>'
    contents = f"<Contents>{AWS.format(key='é', modified='x', etag='e', size=1)}</Contents>"
    body = document(contents, declared=declared).decode().encode("iso-8859-1")
    assert [found.key for found in page_of(200, {}, body).objects] == ["é"]


@pytest.mark.parametrize(
    "body",
    [
        document(f"<Contents>{AWS.format(key='k', modified='x', etag='e', size=1)}</Contents>")[:-10],
        b"<ListBucketResult ></ListBucketResult>",
        b"<html></html>",
        b"",
    ],
)
def test_what_is_cut_off_or_something_else_is_no_listing(body: bytes) -> None:
    with pytest.raises(InvalidResponse):
        page_of(200, {}, body)


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="many"):
        page_of(200, {}, document(f"<Contents>{AWS.format(key='k', modified='', etag='e', size='many')}</Contents>"))


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


ERROR = b"<Code>SlowDown</Code><Message>Please reduce</Message><Details>your rate</Details><RequestId>1</RequestId>"
REFUSALS = (
    b"<Error>%s</Error>" % ERROR,
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n%s\n</Error>\n' % ERROR,
    b'<?xml version="1.0" encoding="iso-8859-1"?><Error><Code>A</Code><Message>\xc3\xa4</Message></Error>',
    b'<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%s</Error>' % ERROR,
    b'<ErrorResponse xmlns="x"><Error>%s</Error><RequestId>1</RequestId></ErrorResponse>' % ERROR,
    b"<Error><Code/><Message>m</Message></Error>",
    b"<html><body>Service Unavailable</body></html>",
    b"<HTML></HTML>",
    b"<Error><Code>cut",
    b"\xff",
    b" \n",
    b"",
)


@pytest.mark.parametrize("status", [301, 400, 403, 404, 500, 503, 599])
@pytest.mark.parametrize("body", REFUSALS)
def test_a_refusal_says_what_botocore_would_read_in_it(status: int, body: bytes) -> None:
    headers = {"x-amz-request-id": "1", "retry-after": "3"}
    parsed: Any = create_parser("rest-xml").parse(
        {"status_code": status, "headers": headers, "body": body}, cast("Any", None)
    )
    theirs, ours = parsed["Error"], error_response(status, headers, body)
    assert isinstance(ours, ErrorResponse)
    assert (ours.status, ours.headers, ours.has_body) == (status, headers, bool(body))
    assert ours.code == (theirs.get("Code") or "")
    assert ours.message == " ".join(theirs[part] for part in ("Message", "Details") if theirs.get(part))


def test_what_is_no_refusal_is_no_answer_of_s3() -> None:
    assert isinstance(error_response(300, {}, b""), InvalidResponse)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("media_attachments/files/000/001/original/9f1b.png", True),
        ("cache/accounts/avatars/000/1/original/a-b_c(1).JPEG", True),
        ("prefix/..a/b..", True),
        *(
            (f"a/{segment}/b", False)
            for segment in ("", ".", "..", "...", "\u00e9", "a b", "a&b", "<a>", "a%2Fb", "a+b", "a\\b")
        ),
        *((f"a/b{end}", False) for end in ("/", " ", "\n", "\r\n", "\0", '"', "'", "\u200b", "\u0661")),
        ("", False),
        ("/a", False),
    ],
)
def test_a_plain_key_can_be_taken_for_no_other(key: str, expected: bool) -> None:
    assert is_plain(key) is expected
