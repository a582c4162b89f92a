"""Few passwords are hashed at a time, so strangers who sign in can't take the whole processor."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password
from django.test import Client
from pytest_django import Settings

from integrations.cus_accounts import password_hashing
from integrations.cus_accounts.password_hashing import HashingPlaces, PasswordsBusy, hashing_places
from tests.cus_factories import make_user

LOGIN = "/admin/login/"
_LONG = 30.0


@pytest.fixture
def real_hashers(settings: Settings) -> Iterator[None]:
    """The product's own hashers, which the other tests do without."""
    settings.PASSWORD_HASHERS = [
        "integrations.cus_accounts.password_hashing.CusArgon2PasswordHasher",
        "integrations.cus_accounts.password_hashing.CusPBKDF2PasswordHasher",
    ]
    # Other tests, in other processes, hash at the same time.
    settings.CUS_PASSWORD_LOCKS = ""
    hashing_places.cache_clear()
    yield
    hashing_places.cache_clear()


class Work:
    """Work that lasts until it is let go, and notes how much of it runs at one time."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(_LONG)
        with self._lock:
            self.running -= 1


def _in_threads(number: int, call: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONG
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _finish(work: Work, threads: list[threading.Thread]) -> None:
    """Let the work end, and wait for all who did it."""
    work.go.set()
    for thread in threads:
        thread.join()


def test_no_more_run_at_one_time_than_there_are_places() -> None:
    places, work = HashingPlaces(2, 20, _LONG), Work()
    threads = _in_threads(12, lambda: places.run(work))
    _until(lambda: work.running == 2)
    time.sleep(0.05)  # for those that should not start

    _finish(work, threads)

    assert work.most == 2


def test_who_finds_the_line_full_is_told_so_at_once_and_gets_in_later() -> None:
    places, work = HashingPlaces(1, 0, _LONG), Work()
    threads = _in_threads(1, lambda: places.run(work))
    _until(lambda: work.running == 1)

    with pytest.raises(PasswordsBusy):
        places.run(lambda: None)

    _finish(work, threads)
    assert places.run(lambda: "in") == "in"


def test_who_waits_too_long_is_told_so_and_not_worked_for() -> None:
    places, work = HashingPlaces(1, 3, 0.05), Work()

    def gives_up() -> None:
        with suppress(PasswordsBusy):
            places.run(work)

    threads = _in_threads(1, gives_up)
    _until(lambda: work.running == 1)
    done: list[str] = []

    with pytest.raises(PasswordsBusy):
        places.run(lambda: done.append("too late"))

    _finish(work, threads)
    _until(lambda: work.running == 0)
    assert places.run(lambda: "in") == "in"
    assert not done


def test_the_processes_of_a_machine_share_its_places(tmp_path: Path) -> None:
    of_two_processes = [HashingPlaces(1, 9, _LONG, locks=tmp_path / "locks") for _ in range(2)]
    work = Work()
    threads = [
        thread
        for places in of_two_processes
        for thread in _in_threads(3, lambda places=places: places.run(work))  # type: ignore[misc]  # mypy infers no type for it
    ]
    _until(lambda: work.running == 1)
    time.sleep(0.05)  # for those that should not start

    _finish(work, threads)

    assert work.most == 1


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_711)
    places = HashingPlaces(1, 0, _LONG, locks=tmp_path)

    assert places.run(lambda: "in") == "in"
    assert not list(tmp_path.iterdir())


def test_hashing_gives_way_to_everything_else() -> None:
    places = HashingPlaces(1, 1, _LONG)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    niceness = places.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    assert niceness == 10
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@pytest.mark.usefixtures("real_hashers")
def test_a_password_is_hashed_on_one_thread() -> None:
    hashed = make_password("correct horse")

    assert hashed.startswith("argon2$argon2id$v=19$m=102400,t=2,p=1$")
    assert check_password("correct horse", hashed)
    assert not check_password("wrong", hashed)


@pytest.mark.usefixtures("real_hashers")
def test_a_hasher_that_calls_itself_needs_one_place() -> None:
    hashed = make_password("correct horse", hasher="pbkdf2_sha256")

    assert check_password("correct horse", hashed)


@pytest.mark.django_db
@pytest.mark.usefixtures("real_hashers")
def test_an_older_hash_opens_the_door_and_is_replaced_by_one_of_now() -> None:
    user = make_user("operator")
    user.password = Argon2PasswordHasher().encode("correct horse", "a-salt-of-22-characters")
    user.save()
    assert ",p=8$" in user.password

    form = {"username": user.email, "password": "correct horse"}
    assert Client().post(LOGIN, form).status_code == 302

    user.refresh_from_db()
    assert ",p=1$" in user.password


@pytest.mark.django_db
@pytest.mark.usefixtures("real_hashers")
@pytest.mark.parametrize("known", [True, False])
def test_a_sign_in_without_a_place_is_told_to_come_again_and_counts_as_no_failure(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    email = make_user("operator").email if known else "nobody@example.com"
    full = HashingPlaces(1, 0, _LONG)
    work = Work()
    threads = _in_threads(1, lambda: full.run(work))
    _until(lambda: work.running == 1)
    monkeypatch.setattr(password_hashing, "hashing_places", lambda: full)

    page = Client().post(LOGIN, {"username": email, "password": "correct horse"})

    work.go.set()
    threads[0].join()
    assert page.status_code == 503
    assert page["Retry-After"] == "5"
    assert "Try again in a few seconds" in page.content.decode()
    assert not AccessAttempt.objects.exists()
