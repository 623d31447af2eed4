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
        plugged = kit.raw("plug", vif, request=b"")
        if plugged.status is None or plugged.outcome == "bad_reply":
            raise Broken("with an empty standard input it neither worked nor failed in order", plugged)
        alone = kit.look()
        unplugged = kit.raw("unplug", vif, request=b"") if plugged.done else kit.call("unplug", vif)
        if not unplugged.done:
            raise Broken("unplug after that failed", unplugged)
        ignored = f"^link {re.escape(vif.devname)} .* up$"
        if differences := before.without(ignored).differences(kit.look().without(ignored)):
            raise Broken(
                "after that and an unplug the host is another one:\n" + "\n".join(differences), unplugged
            )
        if not plugged.done:
            raise NotApplicable("it needs its request, and says so")
        kit.done("plug", vif)
        if alone == before and kit.look() != before:
            raise Broken("it said that it was done, and had done nothing", plugged)
