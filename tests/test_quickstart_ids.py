"""Ids of the quickstart's pictures: a function of the path alone, and never two the same."""

import itertools
import re

import pytest

from handlers.quickstart.pictures import find, id_of


@pytest.mark.parametrize(
    ("path", "id"),
    [
        ("hills.jpg", "hills"),
        ("of-the-first-run.jpg", "of-the-first-run"),
        ("sample-01.jpg", "sample-01"),
        ("sub/p001.jpg", "sub-p001"),
    ],
)
def test_plain_names_are_their_own_ids(path, id):
    assert id_of(path) == id


def test_no_two_paths_have_the_same_id():
    paths = {
        "".join(letters) + suffix
        for length in range(1, 5)
        for letters in itertools.product("a1-/_. ü", repeat=length)
        for suffix in (".jpg", ".png", ".JPG", "")
    }
    ids = {id_of(path) for path in paths}
    assert len(ids) == len(paths)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", id) for id in ids)
    # nor can a name pretend to be the hash of another
    for path in ("clash.png", "a b.jpg", "x" * 200 + ".jpg"):
        assert id_of(id_of(path) + ".jpg") != id_of(path)


def test_ids_stay_while_others_come_and_go(tmp_path):
    ids = {}
    names = ("clash.png", "clash.gif", "clash.jpg", "a-b.jpg", "a/b.jpg", "a b.jpg", "a_b.jfif")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        found, _ = find(str(tmp_path))
        assert ids.items() <= found.items()
        ids = found
    assert set(ids.values()) == set(names)
    for name in names[:-1]:
        (tmp_path / name).unlink()
    assert find(str(tmp_path))[0].items() <= ids.items()
