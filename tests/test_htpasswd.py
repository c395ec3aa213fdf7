"""Passwords as htpasswd(1) writes them, and what else such a file may hold."""

import os
import time

import pytest

from handlers import faults, htpasswd

# each of the password "secret", as htpasswd(1) and mkpasswd(1) have written them
LINES = {
    "bcrypt": "$2y$05$2QNKl1OMNccKZeAGTBLTle9ml9birBZLEg8hs7RDup5FfVPK.g8yu",
    "apr1": "$apr1$S8oMRjfr$h9C4CKERWae8gw7n8YHpK/",
    "sha": "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "des": "Hp0cR/N9ilGWU",
    "sha512": "$6$7sQP8GcLy12XRAjP$az.1TcPd/a8lzzKDXX9PdMs/l/fU6L8gjjlha1zowE2OzGzB7mPmNovf96WM"
    "ZzpPBLrmVgHxnBvIR5mzUmpsx/",
    "sha256": "$5$GFSxgvhePK4Y/6QY$XCKWJ/gP3djMHTboPNlAaaICOU8hur2Y/mxwh76v962",
}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "htpasswd"


@pytest.fixture(autouse=True)
def forget_what_was_logged():
    faults._told.clear()


@pytest.mark.parametrize("form", LINES)
def test_every_form_that_htpasswd_writes_is_checked(file, form, caplog):
    file.write_text(f"ann:{LINES[form]}\n")
    users = htpasswd.read(str(file))
    assert users.check("ann", "secret")
    assert not users.check("ann", "Secret")
    assert not users.check("bob", "secret")
    assert caplog.messages == []


def test_own_hash_is_checked(file):
    file.write_text(f"ann:{htpasswd.encode('käse')}\n")
    assert htpasswd.read(str(file)).check("ann", "käse")


@pytest.mark.parametrize(
    "line", ["ann:secret", "ann:{SSHA}x", "ann:", "ann:!", "ann:$apr1$short", "ann"]
)
def test_what_cannot_be_checked_is_refused_and_logged_once(file, line, caplog):
    file.write_text(f"bob:{LINES['bcrypt']}\n{line}\n")
    for _ in range(3):
        users = htpasswd.read(str(file))
        assert not users.check("ann", line.partition(":")[2])
        assert users.check("bob", "secret")
    (said,) = caplog.messages
    assert f"{file}, line 2: a password in a form that cannot be checked" in said
    assert "htpasswd -B" in said


@pytest.mark.parametrize("name", [b"", b" ", b"\t", "\u3000".encode(), b"\xe4rger", b"a\0b"])
def test_line_without_a_name_or_with_a_broken_byte_is_left_out(file, name, caplog):
    file.write_bytes(b"%s:%s\nbob:%s\n" % (name, *2 * (LINES["bcrypt"].encode(),)))
    users = htpasswd.read(str(file))
    for tried in (name.decode("latin-1"), name.decode("utf-8", "surrogateescape").strip(), ""):
        assert not users.check(tried.replace("\udce4", "?"), "secret")
    assert users.check("bob", "secret")
    assert caplog.messages == [
        f"gallery.users {file}, line 1: not UTF-8, or without a name: skipped"
    ]


def test_comments_and_blank_lines_are_nothing(file, caplog):
    file.write_text(f"# a comment: of ours\n\n#ann:{LINES['sha']}\nann:{LINES['sha']}\r\n")
    users = htpasswd.read(str(file))
    assert users.check("ann", "secret") and not users.check("#ann", "secret")
    assert caplog.messages == []


@pytest.mark.parametrize("password", ["x" * 1025, "secret\0", "secret\0x"])
def test_password_that_the_library_would_cut_is_refused(file, password):
    file.write_text(f"ann:{LINES['bcrypt']}\n")
    assert not htpasswd.read(str(file)).check("ann", password)


@pytest.mark.slow
def test_unknown_user_costs_what_a_known_one_costs(file):
    # bcrypt of 2^10 rounds, twice, and one line of a form that costs nothing
    slow = "$2y$10$WhFO1CAnt7c023t.Ycwic.JRjopI34ZjYoKNLrcqX6PH/pGB6BGhW"
    file.write_text(f"cheap:{LINES['sha']}\nann:{slow}\nbob:{slow}\nplain:secret\n")
    users = htpasswd.read(str(file))

    def cost(user):
        started = time.process_time()
        users.check(user, "wrong")
        return time.process_time() - started

    # in turns, as what else runs on the machine makes all of them dearer
    names = ("ann", "nobody", "", "plain")
    costs = zip(*([cost(name) for name in names] for _ in range(4)), strict=True)
    known, *others = map(min, costs)
    assert all(0.5 < other / known < 2 for other in others), (known, others)


def test_change_holds_at_the_next_reading(file):
    """However fast it comes, and with the size and the time that the file had before."""
    file.write_text(f"ann:{LINES['sha']}\n")
    for number in range(200):
        name = f"u{number % 7}"
        file.write_text(f"{name}x:{LINES['sha']}\n")
        os.utime(file, (1.7e9, 1.7e9))
        users = htpasswd.read(str(file))
        assert users.check(f"{name}x", "secret")
        assert not users.check("ann", "secret")


def test_settled_file_is_read_once(file, monkeypatch):
    file.write_text(f"ann:{LINES['sha']}\n")
    now = time.time()
    monkeypatch.setattr(htpasswd.time, "time", lambda: now + 10)
    assert htpasswd.read(str(file)) is htpasswd.read(str(file))
    file.write_text(f"ann:{LINES['apr1']}\n")
    users = htpasswd.read(str(file))
    assert users.check("ann", "secret")


def test_file_that_is_not_there_is_an_error(file):
    with pytest.raises(OSError, match="No such file"):
        htpasswd.read(str(file))


def test_seal_holds_for_as_long_as_the_line_does(file):
    file.write_text(f"ann:{LINES['sha']}\nbob:{LINES['sha']}\n")
    users = htpasswd.read(str(file))
    seal = users.seal("ann")
    assert seal != users.seal("ann")
    assert users.is_sealed("ann", seal)
    assert not users.is_sealed("bob", seal)
    # another's line, and one for the name's own password set anew
    file.write_text(f"eve:{LINES['sha']}\nann:{LINES['sha']}:comment\n")
    assert htpasswd.read(str(file)).is_sealed("ann", seal)
    file.write_text(f"ann:{LINES['apr1']}\n")
    assert not htpasswd.read(str(file)).is_sealed("ann", seal)
    file.write_text("")
    assert not htpasswd.read(str(file)).is_sealed("ann", seal)


@pytest.mark.parametrize("seal", ["", "00", "x", None, "00" * 16, "00" * 32, 7])
def test_what_is_no_seal_is_none(file, seal):
    file.write_text(f"ann:{LINES['sha']}\n")
    assert not htpasswd.read(str(file)).is_sealed("ann", seal)
