"""What the host agent knows of its VIFs when its threads meet. A stand-in for vifplugd and for Neutron's servers."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vifplug.neutron.agent import vifs as module
from vifplug.neutron.agent.neutron import Bound
from vifplug.neutron.agent.vif import Place, Vif
from vifplug.neutron.agent.vifs import Vifs

ID = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"
PATIENCE = 20.0
BOUND = Bound(
    port_id=ID,
    network_id="4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e02",
    active=True,
    port_status="ACTIVE",
    admin_state_up=True,
    binding={"id": ID, "vif_type": "vhostuser", "vif_details": {"path": "/run/vhost/one"}},
)


class Vifplugd:
    """A stand-in."""

    def __init__(self) -> None:
        self.plugged: queue.Queue[str] = queue.Queue()
        self.meanwhile: Callable[[], object] = lambda: None

    def plug(self, request: dict[str, Any]) -> Any:
        self.meanwhile()
        self.plugged.put(request["id"])
        return SimpleNamespace(changed=True)


class Servers:
    """A stand-in: they take everything, and say nothing."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def building(self, port_id: str) -> None:
        assert port_id == ID
        self.told.append("building")

    def up(self, port_id: str) -> None:
        assert port_id == ID
        self.told.append("up")


@pytest.fixture
def vifplugd() -> Vifplugd:
    return Vifplugd()


@pytest.fixture
def vifs(vifplugd: Vifplugd) -> Iterator[Vifs]:
    vifs = Vifs(vifplugd, Servers(), abandoned_after=30, resync_interval=300)  # type: ignore[arg-type]
    yield vifs
    vifs.stop()


def test_a_port_that_was_forgotten_while_neutron_answered_is_known_again(
    vifs: Vifs, vifplugd: Vifplugd
) -> None:
    forgotten = Vif(ID)
    vifs._learn(forgotten, BOUND)
    assert vifplugd.plugged.get(timeout=PATIENCE) == ID
    assert vifs.known(ID) == {ID}


def test_a_port_that_there_was_no_thread_for_is_tried_again(
    vifs: Vifs, vifplugd: Vifplugd, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = vifs._lanes.submit

    def refuse(*_: Any) -> bool:
        monkeypatch.setattr(vifs._lanes, "submit", begin)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "_FIRST", 0.01)
    monkeypatch.setattr(vifs._lanes, "submit", refuse)
    vifs._later.start()
    vifs._learn(Vif(ID), BOUND)
    assert vifplugd.plugged.get(timeout=PATIENCE) == ID


@pytest.mark.parametrize(("left", "told"), [(True, ["building"]), (False, ["building", "up"])])
def test_a_port_that_left_while_it_was_plugged_is_not_told_up(
    vifplugd: Vifplugd, left: bool, told: list[str]
) -> None:
    servers = Servers()
    place = Place(
        client=vifplugd,  # type: ignore[arg-type]
        neutron=servers,  # type: ignore[arg-type]
        tap=lambda _: None,
        again=lambda *_: None,
        check=lambda _: None,
        still_bound=lambda _: False,
        abandoned_after=30,
    )
    vif = Vif(ID)
    vif.learn(BOUND)
    if left:
        vifplugd.meanwhile = lambda: vif.learn(None)
    vif.settle(place)
    assert servers.told == told
