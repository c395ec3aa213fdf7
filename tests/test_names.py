"""Names of pictures: one for each id, and nothing in them that a path gives a meaning to."""

import itertools
import random
import re

import pytest

from handlers import names


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("12345", "12345"),
        ("a_b-C", "a_b-C"),
        ("foo.bar", "foo%2Ebar"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("with blank", "with%20blank"),
        ("Ærø", "%C3%86r%C3%B8"),
        ("50%", "50%25"),
        ("%2E", "%252E"),
        ("\0", "%00"),
        ("\n", "%0A"),
        (b"\xff\x00".decode("utf-8", "surrogateescape"), "%FF%00"),
    ],
)
def test_name_of_an_id_and_back(id, name):
    assert names.has_name(id)
    assert names.of(id) == name
    assert names.id_of(name) == id


@pytest.mark.parametrize(
    "name",
    [
        "",
        "%2e",
        "%41",
        "%",
        "%2",
        "%GG",
        "a.b",
        "a/b",
        "..",
        "ü",
        "a b",
        "a\n",
        "%5F",
        "%2D",
        "x" * 201,
    ],
)
def test_what_is_no_name(name):
    assert names.id_of(name) is None


def test_names_are_200_characters_at_most():
    assert names.has_name("." * 66) and len(names.of("." * 66)) == 198
    assert not names.has_name("." * 67)
    assert names.has_name("x" * 200) and not names.has_name("x" * 201)
    assert not names.is_plain("x" * 129)
    assert (
        not names.has_name("") and not names.has_name("\ud800") and not names.has_name("." * 10**7)
    )


def test_names_are_one_to_one_and_safe():
    alphabet = [
        "a",
        "Z",
        "0",
        "_",
        "-",
        "%",
        ".",
        "/",
        "2",
        "E",
        "\0",
        " ",
        "ü",
        "京",
        "\udcff",
        "\\",
    ]
    ids = {"".join(letters) for n in (1, 2, 3) for letters in itertools.product(alphabet, repeat=n)}
    chance = random.Random(7)
    ids |= {"".join(chance.choices(alphabet, k=20)) for _ in range(2000)}
    found = {}
    for id in ids:
        # what is no UTF-8 comes from bytes, so it never happens to be UTF-8 after all
        id = id.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
        name = names.of(id)
        assert re.fullmatch(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+", name)
        assert names.id_of(name) == id
        assert found.setdefault(name, id) == id
        assert names.in_url(name).replace("%25", "") == name.replace("%", "")
