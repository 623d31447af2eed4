"""All VIFs of this host: who hears what of them, and who sees to them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice

from ...client import Client
from ...daemon.lanes import Lanes
from ...errors import VifplugError
from .. import rpc
from .later import Later
from .neutron import FAILURES, Bound, Neutron, shortly
from .taps import Taps, start_of_id
from .vif import MARK, Place, Vif

_LOG = logging.getLogger(__name__)

#: seconds in which ports gather that are to be asked for: a boot of many guests is a few questions
_GATHER = 0.02
#: seconds after which a port is asked for again that was told of and is not bound here: its binding is written last
_ANEW = (0.5, 2.0, 5.0, 15.0)
#: seconds after which it is seen whether Neutron took what it was told: an update may be lost there to another
_CHECK = 5.0
#: seconds between two questions of whether a live migration's destination has become the port's host, or never will:
#: Neutron tells of the one, and of the other nobody
_MIGRATING = 10.0
#: seconds until Neutron is asked again after it did not answer, the first time and at most
_FIRST, _LAST = 1.0, 30.0
#: VIFs at work at once, in all and for one script
_AT_WORK, _PER_SCRIPT = 64, 16


class Vifs:
    """Keeps what is plugged as Neutron binds it and as Nova makes it. Any thread may call its methods."""

    def __init__(
        self, client: Client, neutron: Neutron, *, abandoned_after: float, resync_interval: float
    ) -> None:
        self._client = client
        self._neutron = neutron
        self._resync_interval = resync_interval
        self.taps = Taps(self._taps_changed, self.compare_all)
        self._later = Later()
        self._lanes = Lanes("vifplug-vif", _AT_WORK, _PER_SCRIPT)
        self._place = Place(
            client=client,
            neutron=neutron,
            tap=self.taps.link,
            again=lambda port_id, seconds: self._later.call(
                seconds, ("settle", port_id), partial(self._settle, port_id)
            ),
            check=lambda port_id: self._ask_later(_CHECK, port_id, len(_ANEW)),
            still_bound=lambda port_id: any(self._neutron.bindings([port_id])),
            abandoned_after=abandoned_after,
        )
        self._guard = threading.Lock()
        self._vifs: dict[str, Vif] = {}
        #: of those: to be settled (again), and being settled
        self._dirty: set[str] = set()
        self._busy: set[str] = set()
        self._asked = threading.Condition()
        #: to be asked for, by id or by its first characters: how often they were before, in vain
        self._questions: dict[str, int] = {}
        self._all = False
        self._stopped = False
        self._thread = threading.Thread(target=self._ask, name="vifplug-asks", daemon=True)

    def start(self) -> None:
        """Begin, in threads that live in the network namespace of the caller's."""
        self._later.start()
        self.taps.start()
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more. What is plugged stays so."""
        self.taps.stop()
        self._later.stop()
        with self._asked:
            self._stopped = True
            self._asked.notify()
        self._lanes.stop(2.0)

    def known(self, id_: str) -> set[str]:
        """The ports known here that this is the id of, or of their network."""
        with self._guard:
            if id_ in self._vifs:
                return {id_}
            return {
                vif.id for vif in self._vifs.values() if vif.bound is not None and vif.bound.network_id == id_
            }

    def look(self, ports: Iterable[str]) -> None:
        """Something may have become of these ports' bindings."""
        self._question(ports, 0)

    def compare_all(self) -> None:
        """Compare everything, now."""
        with self._asked:
            self._all = True
            self._asked.notify()

    # --- what the kernel tells ------------------------------------------------------------------

    def _taps_changed(self, names: set[str]) -> None:
        starts = {start for name in names if (start := start_of_id(name)) is not None}
        with self._guard:
            known = {vif.id: vif for vif in self._vifs.values() if vif.id[:11] in starts}
        for port_id in known:
            self._settle(port_id)
        bound = {port_id[:11] for port_id, vif in known.items() if vif.bound is not None}
        self.look(start for start in starts - bound if self.taps.link(f"tap{start}") is not None)

    # --- what Neutron says -----------------------------------------------------------------------

    def _question(self, ports: Iterable[str], before: int) -> None:
        with self._asked:
            for port in ports:
                self._questions[port] = min(before, self._questions.get(port, before))
            self._asked.notify()

    def _ask(self) -> None:
        """One thread asks: so no answer is taken for a later one than it is."""
        wait = _FIRST
        while True:
            with self._asked:
                while not (self._stopped or self._all or self._questions):
                    self._asked.wait()
            time.sleep(_GATHER)
            with self._asked:
                if self._stopped:
                    return
                everything, self._all = self._all, False
                questions, self._questions = self._questions, {}
            try:
                if everything:
                    self._ask_for_all()
                for some in _pages(questions, rpc.PAGE):
                    self._ask_for(some)
            except Exception as error:  # whatever it is: nobody else would ask
                _LOG.warning(
                    "What is bound here cannot be asked for (%s); tried again in %.0f s",
                    shortly(error),
                    wait,
                    exc_info=not isinstance(error, (*FAILURES, VifplugError)),
                )
                with self._asked:
                    self._asked.wait_for(lambda: self._stopped, wait)
                    self._all = self._all or everything
                    self._questions = questions | self._questions
                wait = min(wait * 2, _LAST)
            else:
                wait = _FIRST

    def _ask_for_all(self) -> None:
        on_record = {
            record.id
            for record in self._client.list()
            if record.state != "debt" and record.request.get("profile", {}).get(MARK[0]) == MARK[1]
        }
        bound = {each.port_id: each for each in self._neutron.bindings()}
        with self._guard:
            for port_id in on_record | bound.keys():
                self._vif(port_id)
            vifs = list(self._vifs.values())
        _LOG.info("%d ports are bound here, %d VIFs of ours are plugged", len(bound), len(on_record))
        for vif in vifs:
            vif.compared(on_record=vif.id in on_record)
            self._learn(vif, bound.get(vif.id))
        self._later.call(self._resync_interval, "all", self.compare_all)

    def _ask_for(self, questions: Mapping[str, int]) -> None:
        """``questions``: ids of ports, or their first characters, and how often they were asked for before."""
        bound = {each.port_id: each for each in self._neutron.bindings(list(questions))}
        with self._guard:
            known = {self._vif(port_id) for port_id in bound}
            known |= {vif for vif in self._vifs.values() if vif.id in questions or vif.id[:11] in questions}
        for vif in known:
            self._learn(vif, bound.get(vif.id))
        for asked, before in questions.items():
            if before < len(_ANEW) and not any(port_id.startswith(asked) for port_id in bound):
                self._ask_later(_ANEW[before], asked, before + 1)

    def _ask_later(self, seconds: float, port: str, before: int) -> None:
        self._later.call(seconds, ("ask", port), lambda: self._question([port], before))

    def _learn(self, vif: Vif, bound: Bound | None) -> None:
        with self._guard:
            # it may have been forgotten since it was asked for, as its work was done
            vif = self._vifs.setdefault(vif.id, vif)
            vif.learn(bound)
        if bound is not None and not bound.active:
            self._ask_later(_MIGRATING, vif.id, len(_ANEW))
        self._settle(vif.id)

    def _vif(self, port_id: str) -> Vif:
        """The one of that port, made if need be; the guard is held."""
        return self._vifs.setdefault(port_id, Vif(port_id))

    # --- the work --------------------------------------------------------------------------------

    def _settle(self, port_id: str) -> None:
        with self._guard:
            vif = self._vifs.get(port_id)
            if vif is None:
                return
            self._dirty.add(port_id)
            if port_id in self._busy:
                return
            self._busy.add(port_id)
        try:
            self._lanes.submit(vif.script, object(), partial(self._work, vif))
        except RuntimeError as error:
            _LOG.error("There is no thread for port %s (%s); it is tried again", port_id, error)
            with self._guard:
                self._busy.discard(port_id)
            self._place.again(port_id, _FIRST)

    def _work(self, vif: Vif) -> None:
        while True:
            with self._guard:
                if vif.id not in self._dirty:
                    self._busy.discard(vif.id)
                    if vif.gone:
                        self._vifs.pop(vif.id, None)
                    return
                self._dirty.discard(vif.id)
            try:
                vif.settle(self._place)
            except Exception:
                _LOG.exception("a bug: port %s", vif.id)
                self._place.again(vif.id, _LAST)


def _pages(questions: Mapping[str, int], size: int) -> Iterator[dict[str, int]]:
    items = iter(questions.items())
    while page := dict(islice(items, size)):
        yield page
