"""Signatures of URLs."""

import pytest

from handlers import signing

KEYS = signing.keys("first-key-of-letters second-key-of-letters")


def test_signature_is_the_documented_one():
    """HMAC-SHA256, base64url without padding: what other programs make, too."""
    assert (
        signing.sign("300x200/12345.jpg", "0123456789abcdef")
        == "Ri9TwpskBTEUKh3QotIiaziiISJHeg90k4N1I4rxg-A"
    )


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_list_is_accepted(key):
    assert signing.is_signed("9x9/a.jpg", signing.sign("9x9/a.jpg", key), KEYS)
    assert signing.is_signed("9x9/a.jpg", signing.sign("9x9/a", key), KEYS)


@pytest.mark.parametrize("signature", ["", "x", "é", "\udcff", "\0" * 43, "A" * 43])
def test_anything_else_is_not(signature):
    assert not signing.is_signed("9x9/a.jpg", signature, KEYS)


def test_signature_holds_for_one_name():
    signature = signing.sign("9x9/a.jpg", KEYS[0])
    for name in ("9x9/a.png", "9x9/b.jpg", "9x9-crop/a.jpg", "99x9/a.jpg"):
        assert not signing.is_signed(name, signature, KEYS)


@pytest.mark.parametrize("text", ["", " ", "short", "first-key-of-letters short"])
def test_short_keys_are_refused(text):
    with pytest.raises(signing.BadKey):
        signing.keys(text)
