"""The plug scripts of the soak. Their backend is a folder with a file ``port-ID`` for each port it has.

What a VIF's ``vif_details.mood`` asks for goes wrong, so that the plan alone decides what fails:

fails    plug and update do half of their work, then say that the backend is unavailable
later    every second plug is asked to come again
hangs    plug and update never end by themselves, nor does what they started
daemons  plug and update fail, and a process that daemonised twice holds their output
grudge   unplug fails, until the backend is healed (a file ``healed``)
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import plugscript

_SHELL = """#!/bin/sh
set -e # any of its own children may be killed: then it may not say that all went well
b=@BACKEND@
verb=$1
if [ "$verb" = info ]; then
    echo '{"name": "@NAME@", "verbs": ["plug", "unplug", "update", "check"], "update_fields": ["details.tag"]}'
    exit 0
fi
exec 9>"$b/lock-$VIF_ID"
flock -n 9 || [ $? -ne 1 ] || echo "$verb $VIF_ID" >>"$b/overlap"
request=$(cat)
keep() {
    echo "$request" >"$b/new-$VIF_ID"
    mv "$b/new-$VIF_ID" "$b/port-$VIF_ID"
}
leave() { setsid sh -c 'setsid sleep 1000 &' 9>&-; }
case $verb in
plug | update)
    keep
    case ${VIF_DETAILS_MOOD-} in
    fails) exit 69 ;;
    later)
        [ -f "$b/tried-$VIF_ID" ] || { : >"$b/tried-$VIF_ID"; exit 75; }
        rm "$b/tried-$VIF_ID"
        ;;
    hangs)
        leave
        sleep 1000
        ;;
    daemons)
        leave
        exit 1
        ;;
    esac
    ;;
unplug)
    rm -f "$b/port-$VIF_ID" "$b/new-$VIF_ID"
    [ "${VIF_DETAILS_MOOD-}" != grudge ] || [ -f "$b/healed" ] || exit 1
    ;;
check) [ -f "$b/port-$VIF_ID" ] || echo '{"ok": false}' ;;
*) exit 64 ;;
esac
"""

_RESIDENT = """#!/usr/bin/python3 -IS
import os
import sys

sys.path.insert(0, "@SDK@")
from plugscript import Drift, Script

script = Script(
    "stays", version="1", vif_types=["ethernet"], resident=True, update_fields=["details.tag"],
    details={"tag": {"type": "integer"}, "mood": {"type": "string"}},
)


def paths(request):
    return [f"@BACKEND@/{part}-{request.vif.id}" for part in ("new", "port")]


@script.verb
def plug(request):
    new, port = paths(request)
    with open(new, "w") as file:
        file.write(f'{{"generation": {request.generation}}}')
    os.replace(new, port)


@script.verb
def update(request):
    plug(request)


@script.verb
def unplug(request):
    for path in paths(request):
        if os.path.exists(path):
            os.unlink(path)


@script.verb
def check(request):
    if not os.path.exists(paths(request)[1]):
        yield Drift("port", "bound", None)


script.main()
"""

#: scripts of a VIF by its number; None: no script
KINDS = (None, "recorder", "linux-bridge", "stays", "hanger", "flaky", "leaver", "linux-bridge-own")
#: what a VIF with such a script may be asked to do wrong
MOODS_OF = {
    "recorder": ("fine", "fine", "later"),
    "hanger": ("fine", "fine", "fine", "hangs"),
    "flaky": ("fine", "fails", "grudge"),
    "leaver": ("fine", "daemons"),
}
SHELL = tuple(MOODS_OF)
#: whose backend is the folder
FOLDER = (*SHELL, "stays")


def texts(backend: str) -> Mapping[str, str]:
    """The scripts to install, by name."""
    made = {name: _SHELL.replace("@NAME@", name) for name in SHELL}
    made["stays"] = _RESIDENT.replace("@SDK@", os.path.dirname(plugscript.__file__))  # noqa: PTH120
    return {name: text.replace("@BACKEND@", backend) for name, text in made.items()}
