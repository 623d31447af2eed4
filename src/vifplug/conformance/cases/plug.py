"""Plug: once, again, anew."""

from __future__ import annotations

import re

from ..case import Broken, NotApplicable, case
from ..kit import Kit

TOPIC = "plug"


@case(TOPIC, "plug-connects", "plug connects a VIF, with a reply that its type allows",
      anchor="the-reply", says="Anything else, in form or content, is a bad_reply: the plug fails, is undone, and the error names what was wrong.")  # fmt: skip
def plug(kit: Kit) -> None:
    with kit.plugged():
        pass


@case(TOPIC, "plug-again", "the same request again: the same reply",
      anchor="verbs", says="Called again with the same request, it gives the same reply and does no harm")  # fmt: skip
def plug_again(kit: Kit) -> None:
    with kit.vif() as vif:
        first, second = kit.done("plug", vif), kit.done("plug", vif)
        if first.reply != second.reply:
            raise Broken(f"the reply was {first.reply} the first time", second)


@case(TOPIC, "plug-again-does-no-harm", "the same request again: the host stays as it was",
      anchor="verbs", says="Called again with the same request, it gives the same reply and does no harm")  # fmt: skip
def plug_again_does_no_harm(kit: Kit) -> None:
    with kit.plugged() as vif, kit.unchanged("a second plug changed the host"):
        kit.done("plug", vif)


@case(TOPIC, "plug-another-attempt", "a further attempt of the same plug, with less time",
      anchor="the-request", says="1; one more each time the host tries again within one deadline")  # fmt: skip
def plug_another_attempt(kit: Kit) -> None:
    with kit.plugged() as vif, kit.unchanged("the second attempt changed the host"):
        kit.done("plug", vif, attempt=2, seconds=kit.subject.seconds / 2)


@case(TOPIC, "plug-anew", "unplugged and plugged anew, it is as it was the first time",
      anchor="the-request", says="goes up by one each time this VIF is plugged anew")  # fmt: skip
def plug_anew(kit: Kit) -> None:
    with kit.vif() as vif:
        first = kit.done("plug", vif)
        with kit.unchanged("plugged anew, the host is another one"):
            kit.done("unplug", vif)
            second = kit.done("plug", vif, generation=2)
        if first.reply != second.reply:
            raise Broken(f"the reply was {first.reply} the first time", second)


@case(TOPIC, "plug-refresh", "plug of a plugged VIF, told what it answered before",
      anchor="the-request", says="what the script answered to the last successful plug or update")  # fmt: skip
def plug_refresh(kit: Kit) -> None:
    with kit.vif() as vif:
        reply = kit.done("plug", vif).reply
        with kit.unchanged("a plug with previous changed the host"):
            kit.done("plug", vif, previous=reply or None)


@case(TOPIC, "plug-changed-details", "unplugged and plugged with other details",
      anchor="the-request", says="For unplug and check the request holds what was plugged, from the host's record, whatever the network service or the configuration say today.")  # fmt: skip
def plug_changed_details(kit: Kit) -> None:
    with kit.plugged() as vif:
        kit.done("unplug", vif)
        changed = kit.make(id=vif.id, address=vif.address, details=kit.subject.changed_details, mtu=1400)
        kit.done("plug", changed, generation=2)
        kit.done("unplug", changed, generation=2)


@case(TOPIC, "plug-two", "two VIFs; unplugging one leaves the other as it was",
      anchor="what-the-host-promises", says="VIFs do not wait for each other, unless scripts ask for a named lock.")  # fmt: skip
def plug_two(kit: Kit) -> None:
    with kit.plugged(), kit.vif() as other:
        own = re.escape(other.devname)
        with kit.unchanged("plug and unplug of another VIF changed the host", ignoring=own):
            kit.done("plug", other)
            kit.done("unplug", other)


@case(TOPIC, "environment-alone", "without a request on standard input it works from the environment, or fails in order",
      anchor="one-call", says="A script need not read it")  # fmt: skip
def environment_alone(kit: Kit) -> None:
    with kit.vif() as vif:
        before = kit.look()
        came = kit.raw("plug", vif, request=b"")
        if came.status is None or came.outcome == "bad_reply":
            raise Broken("with an empty standard input it neither worked nor failed in order", came)
        alone = kit.look() if came.done else None
        came = kit.raw("unplug", vif, request=b"")
        if alone is None:
            kit.done("unplug", vif)
            if left := kit.look().beyond(before):
                raise Broken(
                    "after an unplug this is left of the plug that failed:\n" + "\n".join(left), came
                )
            raise NotApplicable("it needs its request, and says so")
        kit.done("unplug", vif)
        kit.done("plug", vif)
        differences = alone.differences(kit.look())
        if differences and not kit.subject.watch:
            raise Broken("with the environment alone it plugged otherwise:\n" + "\n".join(differences), came)
