"""Many VIFs in one request: each is a verb of its own, and all of them leave room for other callers."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context

from ..errors import VifplugError
from ..host.pool import side_by_side
from ..host.results import Plugged, Unplugged
from ..model import Vif
from .service import Service


def plug_all(
    service: Service, vifs: list[Vif], *, owner: int, on_done: Callable[[int, Plugged | VifplugError], None]
) -> None:
    """Plug many; ``on_done`` gets each index with its answer, in the thread that did it."""
    contexts = [copy_context() for _ in vifs]  # the caller's trace goes on in each

    def one(index: int) -> None:
        answer: Plugged | VifplugError
        try:
            answer = contexts[index].run(service.plug, vifs[index], owner=owner, patient=True)
        except VifplugError as error:
            answer = error
        on_done(index, answer)

    with service.admission.batch() as workers:
        side_by_side(one, range(len(vifs)), min(workers, service.config.workers))


def unplug_all(
    service: Service,
    vif_ids: list[str] | None,
    *,
    on_done: Callable[[int, str, Unplugged | VifplugError], None],
) -> None:
    """Unplug many, all on record for None; those without a script go together."""
    ids = list(dict.fromkeys([r.id for r in service.host.list()] if vif_ids is None else vif_ids))
    scripts = {vif_id: service.script_of(vif_id) for vif_id in ids}
    plain = {vif_id: index for index, vif_id in enumerate(ids) if scripts[vif_id] is None}
    contexts = [copy_context() for _ in ids]

    def unplugged(answer: Unplugged | VifplugError) -> None:
        if isinstance(answer, Unplugged):
            service.tell_unplugged(answer)
            on_done(plain[answer.id], answer.id, answer)

    def together() -> None:
        answers: list[Unplugged | VifplugError]
        try:
            with service.verb("unplug-all", patient=True):
                answers = service.host.unplug_all(plain, on_done=unplugged)
        except VifplugError as error:
            answers = [error] * len(plain)
        for vif_id, answer in zip(plain, answers, strict=True):
            if isinstance(answer, VifplugError):
                service.events.publish("unplug-failed", vif_id, error=answer.as_dict())
                on_done(plain[vif_id], vif_id, answer)

    def one(index: int) -> None:
        if index < 0:
            together()
            return
        answer: Unplugged | VifplugError
        try:
            answer = contexts[index].run(service.unplug, ids[index], patient=True)
        except VifplugError as error:
            answer = error
        on_done(index, ids[index], answer)

    with service.admission.batch() as workers:
        rest = [index for index, vif_id in enumerate(ids) if scripts[vif_id] is not None]
        side_by_side(one, [*([-1] if plain else []), *rest], min(workers, service.config.workers))
