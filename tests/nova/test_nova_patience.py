"""What is asked again of vifplugd, and for how long."""

from __future__ import annotations

import pytest

from vifplug.errors import DaemonUnreachable, NotAllowed, RetryLater, Stopping, TooBusy, VifplugError
from vifplug.nova import patience


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(patience, "time", found)
    return found


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


class Daemon:
    """Fails in these ways, one after the other, then answers."""

    def __init__(self, *errors: VifplugError) -> None:
        self.errors = list(errors)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_what_passes_by_itself_is_asked_again_ever_more_slowly(clock: Clock) -> None:
    daemon = Daemon(*[DaemonUnreachable("away") for _ in range(9)])
    assert patience.persistently(daemon, 60) == "done"
    assert daemon.asked == 10
    assert 0.08 <= clock.naps[0] <= 0.12 and 4 <= clock.naps[-1] <= 6
    assert len(set(clock.naps)) == 9  # threads that wait together do not come back together


def test_the_daemon_s_word_for_when_is_heeded(clock: Clock) -> None:
    patience.persistently(Daemon(TooBusy("full", retry_after=2), Stopping("down", retry_after=600)), 60)
    assert 1.6 <= clock.naps[0] <= 2.4 and clock.naps[1] <= 6


def test_patience_ends_and_the_error_is_the_last_one(clock: Clock) -> None:
    daemon = Daemon(*[TooBusy(f"full {number}") for number in range(1000)])
    with pytest.raises(TooBusy):
        patience.persistently(daemon, 30)
    assert clock.now - 1000 <= 30 and daemon.asked < 30


@pytest.mark.parametrize(
    "error", [NotAllowed("no"), RetryLater("the script tried already"), VifplugError("no")]
)
def test_what_does_not_pass_is_told_at_once(clock: Clock, error: VifplugError) -> None:
    daemon = Daemon(error)
    with pytest.raises(type(error)):
        patience.persistently(daemon, 60)
    assert daemon.asked == 1 and clock.naps == []


def test_without_patience_it_is_asked_once(clock: Clock) -> None:
    daemon = Daemon(DaemonUnreachable("away"))
    with pytest.raises(DaemonUnreachable):
        patience.persistently(daemon, 0)
    assert daemon.asked == 1
