"""Limits on guesses and new sessions: by address and user, over processes, restarts and kills."""

import os
import signal
import stat
import time

import pytest

from handlers import locks, throttle
from handlers.throttle import FREE_GUESSES, LONGEST_FOR_ADDRESS, LONGEST_FOR_USER, Throttle
from tests.forked import forked


class Clock:
    def __init__(self):
        self.now = 1.8e9

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limits(tmp_path, clock):
    return Throttle(str(tmp_path / "throttle"), clock)


def guesses(limits, count, address="192.0.2.1", user="ann"):
    """Return how many of *count* guesses at once are taken."""
    return sum(not limits.guess(address, user).wait for _ in range(count))


def test_guesses_from_an_address_are_taken_at_growing_intervals(limits, clock):
    assert guesses(limits, 100) == FREE_GUESSES
    waits = []
    for number in range(14):
        verdict = limits.guess("192.0.2.1", f"user {number}")
        waits.append(round(verdict.wait))
        clock.now += verdict.wait - 0.01
        assert limits.guess("192.0.2.1", f"user {number}").wait > 0
        clock.now += 0.02
        assert not limits.guess("192.0.2.1", f"user {number}").wait
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *[LONGEST_FOR_ADDRESS] * 4]


def test_guesses_at_a_user_from_everywhere_are_taken_at_growing_intervals(limits, clock):
    taken = sum(guesses(limits, 1, f"192.0.2.{number}") for number in range(100))
    assert taken == FREE_GUESSES
    for number in range(100):
        verdict = limits.guess(f"198.51.100.{number}", "ann")
        assert verdict.of_user
        assert 0 < verdict.wait <= LONGEST_FOR_USER
        clock.now += verdict.wait + 0.01
        assert not limits.guess(f"198.51.100.{number}", "ann").wait
    # guesses at others are not concerned
    assert not limits.guess("203.0.113.1", "bob").wait


def test_user_is_not_locked_out_by_guesses_from_other_addresses(limits, clock):
    assert not limits.guess("192.0.2.200", "ann").wait
    limits.right("192.0.2.200", "ann")
    for number in range(100):
        limits.guess(f"198.51.100.{number}", "ann")
    assert limits.guess("198.51.100.200", "ann").wait
    # from where she has signed in before, at once; from elsewhere, after a while
    assert not limits.guess("192.0.2.200", "ann").wait
    clock.now += LONGEST_FOR_USER
    assert not limits.guess("203.0.113.1", "ann").wait


def test_right_password_takes_the_guess_back_and_no_other(limits):
    for _ in range(3 * FREE_GUESSES):
        assert not limits.guess("192.0.2.1", "ann").wait
        limits.right("192.0.2.1", "ann")
    # a user of one's own does not wash away guesses at another's password
    taken = 0
    for _ in range(3 * FREE_GUESSES):
        if not limits.guess("192.0.2.1", "eve").wait:
            limits.right("192.0.2.1", "eve")
        taken += not limits.guess("192.0.2.1", "ann").wait
    assert taken == FREE_GUESSES


def test_refused_guesses_make_no_delay_longer(limits, clock):
    guesses(limits, FREE_GUESSES)
    for _ in range(1000):
        assert limits.guess("192.0.2.1", "ann").wait <= 1
    clock.now += 1.01
    assert not limits.guess("192.0.2.1", "ann").wait


def test_burst_is_announced_once(limits, clock):
    said = [limits.guess("192.0.2.1", "ann").first for _ in range(50)]
    clock.now += 1.1
    said += [limits.guess("192.0.2.1", "ann").first for _ in range(50)]
    assert sum(said) == 1
    said = [limits.new_session("192.0.2.1", 2).first for _ in range(50)]
    clock.now += 0.5
    said += [limits.new_session("192.0.2.1", 2).first for _ in range(50)]
    assert sum(said) == 1
    clock.now += 60
    assert sum(limits.new_session("192.0.2.1", 2).first for _ in range(50)) == 1


def test_guesses_are_forgotten_after_an_hour(limits, clock):
    guesses(limits, 100)
    clock.now += 3601
    assert guesses(limits, 100) == FREE_GUESSES


@pytest.mark.parametrize("rate, seconds, most", [(5, 10, 55), (0.5, 10, 6), (1, 10, 11)])
def test_new_sessions_keep_to_their_rate(limits, clock, rate, seconds, most):
    taken = 0
    for _ in range(seconds * 100):
        verdict = limits.new_session("192.0.2.1", rate)
        taken += not verdict.wait
        assert verdict.wait <= 1 / rate
        clock.now += 0.01
    assert most - 2 <= taken <= most
    assert not limits.new_session("192.0.2.2", rate).wait


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:DB8:0:1::1", "2001:db8:0:1:0::9", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unix:", "unix:", True),
    ],
)
def test_ipv6_is_counted_by_64_bits(one, other, same):
    assert (throttle.network(one) == throttle.network(other)) == same


def test_counts_are_those_of_all_processes(tmp_path, monkeypatch):
    path = str(tmp_path / "throttle")
    # a busy machine may stall the process that has it
    monkeypatch.setattr(throttle, "_LOCK_TIMEOUT", 60.0)
    taken = forked([lambda: guesses(Throttle(path), 50)] * 8)
    assert sum(map(int, taken)) in range(FREE_GUESSES, FREE_GUESSES + 3)


@pytest.mark.slow
def test_counts_outlive_the_process_and_a_killed_one_blocks_nobody(tmp_path):
    path = str(tmp_path / "throttle")
    guesses(Throttle(path), FREE_GUESSES)
    read, write = os.pipe()

    pid = os.fork()
    if pid == 0:
        try:
            with locks.held(path):
                os.write(write, b"x")
                time.sleep(60)
        finally:
            os._exit(1)
    os.read(read, 1)
    try:
        with pytest.raises(locks.LockTimeout):
            Throttle(path).guess("192.0.2.1", "ann")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
    # the second that it took was the delay, and seconds more are one guess or two; without the
    # counts there were ten
    assert guesses(Throttle(path), 10) <= 3


def test_file_keeps_its_size_and_is_for_its_owner_only(tmp_path, limits, clock):
    limits.guess("192.0.2.1", "ann")
    found = os.stat(tmp_path / "throttle")
    assert stat.S_IMODE(found.st_mode) == 0o600
    for number in range(4000):
        limits.new_session(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 10)
    assert os.stat(tmp_path / "throttle").st_size == found.st_size < 3e6


@pytest.mark.slow
def test_flood_of_addresses_does_not_wash_guesses_away(limits):
    guesses(limits, FREE_GUESSES)
    for number in range(70000):
        limits.new_session(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 10)
    assert limits.guess("192.0.2.1", "bob").wait


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\xff" * 4096])
def test_damaged_file_is_made_anew(tmp_path, limits, damage):
    guesses(limits, FREE_GUESSES)
    (tmp_path / "throttle").write_bytes(damage)
    assert guesses(limits, 100) == FREE_GUESSES


def test_record_of_another_time_blocks_nobody(limits, clock):
    guesses(limits, 100)
    clock.now -= 10 * 86400
    assert not limits.guess("192.0.2.1", "ann").wait


def test_directory_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Throttle(str(tmp_path / "no" / "throttle")).guess("192.0.2.1", "ann")
