import pytest

from handlers.runtime.conditional import (
    etag_in,
    file_etag,
    http_date,
    meets_conditions,
    parse_http_date,
)

NOW = 1_700_000_000.0
CHANGED = 1_600_000_000
AT = "Sun, 13 Sep 2020 12:26:40 GMT"
BEFORE = "Sun, 13 Sep 2020 12:26:39 GMT"
FUTURE = "Thu, 01 Jan 2037 00:00:00 GMT"


def test_etag_is_size_and_microseconds_in_hexadecimal():
    assert file_etag(1333, 1795363371_123456_789, 1795363400.0) == f'"535-{1795363371123456:x}"'


def test_etag_is_weak_within_a_second_of_the_change():
    assert file_etag(1, 10_000_000_000, 11.0).startswith('W/"')
    assert file_etag(1, 10_000_000_000, 11.001).startswith('"')
    assert file_etag(1, 10_000_000_000, 5.0).startswith('W/"')


def test_dates_go_there_and_back():
    assert http_date(CHANGED) == AT
    assert parse_http_date(AT) == CHANGED


@pytest.mark.parametrize("text", ["Sunday, 13-Sep-20 12:26:40 GMT", "Sun Sep 13 12:26:40 2020"])
def test_obsolete_dates_are_understood(text):
    assert parse_http_date(text) == CHANGED


@pytest.mark.parametrize(
    "text",
    [
        *("", "rubbish", "0", "Sun, 99 Sep 2020 12:26:40 GMT", "1 2 3 4"),
        *("Mon, 99999999999 Jan 2020 00:00:00 GMT", "Mon, 01 Jan 99999999999 00:00:00 GMT"),
        *("Mon, 01 Jan 0000 00:00:00 GMT", "Mon, 30 Feb 2020 00:00:00 GMT"),
        *("Mon, 01 Foo 2020 00:00:00 GMT", "Mon, 01 Jan 2020 24:00:00 GMT"),
        *("Mon, 01 Jan 2020 00:60:00 GMT", "Mon, 01 Jan 2020 00:00:61 GMT"),
        *("Mon, 01 Jan 2020 00:00:00 +9999999999", "Mon, ²1 Jan 2020 00:00:00 GMT"),
        *("Mon, 01 Jan 2020 00:00:00", "Monday, 01-Jan-2020 00:00:00 GMT", "é", "\xff" * 99),
    ],
)
def test_no_date_is_none(text):
    assert parse_http_date(text) is None


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 1 Jan 1970 00:00:00 GMT", 0),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
        ("Mon, 01 Jan 0001 00:00:00 GMT", -62135596800),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228799),
        ("Thu Jan  1 00:00:09 1970", 9),
        ("Friday, 31-Dec-99 23:59:59 GMT", 946684799),
        ("Sunday, 31-Dec-69 23:59:59 GMT", 3155759999),
    ],
)
def test_dates_at_the_edges(text, seconds):
    assert parse_http_date(text) == seconds


@pytest.mark.parametrize(
    "etag, field, weakly, strongly",
    [
        ('"a"', '"a"', True, True),
        ('"a"', ' "b" , "a"', True, True),
        ('"a"', '"b","a"', True, True),
        ('"a"', ',,"a",', True, True),
        ('"a"', 'W/"a"', True, False),
        ('W/"a"', '"a"', True, False),
        ('W/"a"', 'W/"a"', True, False),
        ('"a"', '"b"', False, False),
        ('"a"', "a", False, False),
        ('"a"', '"a', False, False),
        ('"a"', '"b" "a"', False, False),
        ('"a,b"', '"a,b"', True, True),
        ('"a"', "", False, False),
        ('"a"', "*", True, True),
        ('"a"', '"a-gzip"', True, False),
        ('"a"', '"b", W/"a-gzip"', True, False),
        ('W/"a"', '"a-br"', True, False),
        ('"a-gzip"', '"a-gzip"', True, True),
        ('"a"', '"a-gzip-gzip"', False, False),
        ('"a-gzip"', '"a"', False, False),
        (None, "*", True, True),
        (None, '"a"', False, False),
    ],
)
def test_entity_tags_compare_weakly_and_strongly(etag, field, weakly, strongly):
    assert etag_in(etag, field, weakly=True) == weakly
    assert etag_in(etag, field, weakly=False) == strongly


@pytest.mark.parametrize(
    "method, headers, result",
    [
        ("GET", {}, 0),
        ("GET", {"If-None-Match": '"a"'}, 304),
        ("HEAD", {"If-None-Match": 'W/"a"'}, 304),
        ("POST", {"If-None-Match": '"a"'}, 412),
        ("POST", {"If-None-Match": '"b"'}, 0),
        ("GET", {"If-None-Match": '"b"'}, 0),
        # If-None-Match makes If-Modified-Since of no account
        ("GET", {"If-None-Match": '"b"', "If-Modified-Since": AT}, 0),
        ("GET", {"If-Modified-Since": AT}, 304),
        ("GET", {"If-Modified-Since": BEFORE}, 0),
        ("GET", {"If-Modified-Since": FUTURE}, 0),
        ("GET", {"If-Modified-Since": "rubbish"}, 0),
        ("POST", {"If-Modified-Since": AT}, 0),
        ("GET", {"If-Match": '"a"'}, 0),
        ("GET", {"If-Match": "*"}, 0),
        ("PUT", {"If-Match": '"b"'}, 412),
        ("PUT", {"If-Match": 'W/"a"'}, 412),
        # If-Match makes If-Unmodified-Since of no account
        ("PUT", {"If-Match": '"a"', "If-Unmodified-Since": BEFORE}, 0),
        ("PUT", {"If-Unmodified-Since": BEFORE}, 412),
        ("PUT", {"If-Unmodified-Since": AT}, 0),
        ("GET", {"If-Unmodified-Since": BEFORE}, 412),
        ("GET", {"If-Match": '"a"', "If-None-Match": '"a"'}, 304),
    ],
)
def test_conditions_of_rfc_9110(method, headers, result):
    assert meets_conditions(method, headers, '"a"', CHANGED, NOW) == result


def test_unknown_validators_meet_dates():
    headers = {"If-Modified-Since": AT, "If-Unmodified-Since": BEFORE}
    assert meets_conditions("GET", headers, None, None, NOW) == 0
