"""The broken script of each case, by the case's name."""
# ruff: noqa: E501  # each stands on one line

from __future__ import annotations

from conformance.broken import Mutant, at, change, when

#: a script that knows what it did by its file alone, which it writes last: what was killed before, it forgets
_FORGETFUL = at("unplug", '[ -e "$file" ] || return 0')
#: removes its file first, and then believes that all is done
_HASTY = at("unplug", '[ -e "$file" ] || return 0; rm -f "$file"')
_MARK = ': >"/run/extra-$id"'
_EACH_TIME = ': >"/run/extra-$$"'


def _unlocked(code: str) -> Mutant:
    """A script whose plug gets in its own way, and that asks for no lock."""
    return Mutant(changes={"\nplug() {\n": f"\nplug() {{\n    {code}\n", '"locks": ["plain.{bridge}"], ': ""})


BROKEN: dict[str, Mutant] = {
    # --- info
    "info-answer": at("info", "echo I am plain; return"),
    "info-again": Mutant(changes={"<<'JSON'": "<<JSON", '"version": "1"': '"version": "$$"'}),
    "info-touches-nothing": at("info", _EACH_TIME),
    "info-protocol": change('"protocols": [1]', '"protocols": [2]'),
    "info-needed-verbs": change('"verbs": ["plug", "unplug", ', '"verbs": ["plug", '),
    "info-verbs-are-there": change("\nactivate) activate ;;", ""),
    "info-vif-types": change('["ethernet"]', '["ethernet", "tap"]'),
    "info-schema": change('"type": "integer"', '"type": "intger"'),
    "info-schema-fits": change('"required": ["bridge"]', '"required": ["bridge"], "additionalProperties": false'),
    "info-update-fields": change('"details.tag"]', '"details.colour"]'),
    "info-locks": change("plain.{bridge}", "plain.{colour}"),
    # --- verbs
    "unknown-verb": change("*) exit 64", "*) exit 1"),
    "unknown-verb-touches-nothing": change("*) exit 64", "*) unplug; exit 64"),
    "unlisted-verbs": change(', "activate"]', "]"),
    # --- plug
    "plug-connects": change('{"vif": {"mtu"', '{"vif": {"path"'),
    "plug-again": at("plug", '[ ! -e "$file" ] || VIF_MTU=1300'),
    "plug-again-does-no-harm": at("plug", '[ ! -e "$file" ] || ip address add 192.0.2.1/32 dev "$own"'),
    "plug-another-attempt": when("*'\"attempt\":2'*"),
    "plug-anew": when("*'\"generation\":2'*", _MARK),
    "plug-refresh": when("*'\"previous\":{'*"),
    "plug-changed-details": at("unplug", '[ "$tag" != 7 ] || exit 1'),
    "plug-two": at("unplug", "for each in $(ls /run); do rm -f /run/${each#vifplug-conform}; done 2>/dev/null || :"),
    "environment-alone": at("plug", "read -r _ || kill -SEGV $$"),
    # --- values
    "longest-device-name": at("plug", "[ ${#dev} -lt 15 ] || exit 1"),
    "unicode": at("plug", "case $VIF_NETWORK_ID in *[!a-z0-9-]*) exit 1 ;; esac"),
    "nothing-is-evaluated": at("plug", 'eval "hint=\\"${VIF_DETAILS_VIFPLUG_CONFORM-}\\""'),
    "many-subnets": when("*10.1.40.5*"),
    "ipv6-only": at("plug", "case $(cat) in *'\"addresses\":[\"10.'*) ;; *) exit 1 ;; esac"),
    "nothing-known": at("plug", ': "${VIF_INSTANCE_ID:?}"'),
    "no-mtu": at("plug", 'ip link set dev "$dev" mtu "$VIF_MTU"'),
    "queues": when("*'\"queues\":16'*"),
    "bandwidth": when("*'\"average\"'*"),
    "unknown-keys": when("*of_a_later_version*"),
    "unknown-details": at("plug", '[ -z "${VIF_DETAILS_CONNECTIVITY-}" ] || exit 65'),
    "huge-request": at("plug", '[ "$(wc -c)" -lt 100000 ] || exit 1'),
    "profile": when("*os_vif_delegation*"),
    # --- unplug
    "unplug-succeeds": at("unplug", "exit 1"),
    "unplug-again": at("unplug", '[ -e "$file" ] || exit 1'),
    "unplug-unknown": at("unplug", f'[ -e "$file" ] || {_EACH_TIME}'),
    "unplug-unknown-no-device": at("unplug", 'there "$dev"'),
    "unplug-without-device": at("unplug", '[ ! -e "$file" ] || there "$dev"'),
    "unplug-undoes": change('    if there "$dev"; then ip link set dev "$dev" nomaster; fi\n', ""),
    "nothing-left": at("unplug", _MARK),
    "unplug-after-refused": at("unplug", "details"),
    # --- halfway
    "killed-at-each-command": _FORGETFUL,
    "plug-after-each-kill": Mutant(
        changes={
            "    connect\n": '    [ ! -e "/var/tmp/half" ] || exit 1; : >/var/tmp/half\n    connect\n    rm /var/tmp/half\n'
        }
    ),
    "failure-at-each-command": at("plug", f"trap '[ $? = 0 ] || {_MARK}' EXIT"),
    "failures-are-told": change("    connect\n", "    connect || :\n"),
    "unplug-killed": _HASTY,
    "killed-at-moments": _FORGETFUL,
    "unplug-killed-at-moments": _HASTY,
    # --- details
    "bad-details": change('[ "$tag" -gt 4094 ]', "false"),
    "missing-details": change('[ -n "$bridge" ] || refuse "bridge is missing"', '[ -n "$bridge" ] || exit 1'),
    "refusals-name-the-detail": change('"message": "vif_details.%s"', '"message": "no"'),
    # --- check
    "check-says-ok": at("check", "drift mood"),
    "check-changes-nothing": at("check", _EACH_TIME),
    "check-unplugged": at("check", '[ -e "$file" ] || exit 0'),
    "check-notices-master": change("drift bridge ;;", ": ;;"),
    "check-notices-down": Mutant(changes={"drift down ;;": ": ;;", "drift route ;;": ": ;;"}),
    "check-notices-gone": change("|| drift own", "|| exit 0"),
    "check-notices-no-tap": change("|| drift device", "|| exit 0"),
    "check-notices-route": change("drift route ;;", ": ;;"),
    "check-notices-address": Mutant(changes={"drift address ;;": ": ;;", "drift route ;;": ": ;;"}),
    "check-notices-filter": change("drift filter ;;", ": ;;"),
    "check-notices-perturbed": change('[ -e "$file" ] || drift file', ":", perturb=['rm "/run/plain-$VIF_ID"']),
    # --- update
    "update-applies": change("update() { plug; }", "update() { exit 1; }"),
    "update-as-plug": change("update() { plug; }", "update() { details; }"),
    "update-again": change("update() { plug; }", f"update() {{ plug; {_EACH_TIME}; }}"),
    "update-then-unplug": change("update() { plug; }", f"update() {{ plug; {_MARK}; }}"),
    "update-of-nothing": change("update() { plug; }", "update() { case $(cat) in *'\"changes\":[]'*) exit 1 ;; esac; plug; }"),
    "update-bad-details": change("update() { plug; }", "update() { connect || :; }"),
    # --- migration
    "migration-phases": when("*'\"phase\":\"running\"'*"),
    "migration-leaves-nothing": when("*'\"phase\":\"failed\"'*", "exit 0", verb="unplug"),
    "activate": change("activate() { :; }", f"activate() {{ {_EACH_TIME}; }}"),
    # --- deadlines
    "ends-at-sigterm": at("plug", "trap '' TERM"),
    "little-time-left": at("plug", '[ "$VIFPLUG_DEADLINE" -gt 0 ] || exit 1'),
    "deadline-then-unplug": _FORGETFUL,
    # --- output
    "reply-alone": at("plug", "echo plugging"),
    "short-log": at("plug", 'printf "%050000d" 0 >&2'),
    "readable-log": at("plug", "printf '\\033[31mplugging\\n' >&2"),
    "trace-lines": at("plug", "echo '#vifplug ip link set up' >&2"),
    "daemons-are-detached": change("</dev/null >/dev/null 2>&1 &", "&", good="daemon"),
    "daemons-are-known": change(
        "    setsid sh", "    setpriv --clear-groups setsid sh", good="daemon", capabilities=["CAP_SETGID"]
    ),
    # --- privileges
    "capabilities": at("plug", "renice -n -5 $$ >&2"),
    "grants-are-needed": Mutant(subject={"capabilities": ["CAP_SYS_NICE"]}),
    # --- parallel
    "parallel-plugs": _unlocked("mkdir /run/busy; sleep 0.05; rmdir /run/busy"),
    "parallel-leaves-nothing": _unlocked(f"mkdir /run/busy 2>/dev/null || {_MARK}; sleep 0.05; rmdir /run/busy || :"),
    # --- resident
    "resident-answers": change("flush=True)", "flush=True); print(flush=True)", good="resident"),
    "resident-as-single": change('    for line in sys.stdin:\n', '    VERBS["unplug"] = lambda _: {}\n    for line in sys.stdin:\n', good="resident"),
    "resident-single-calls": change("def single(verb):\n", 'def single(verb):\n    if verb == "plug" and os.listdir("/run")[1:]:\n        sys.exit(1)\n', good="resident"),
    "resident-ends": change('    serve()\nelse', '    serve()\n    __import__("time").sleep(30)\nelse', good="resident"),
    "resident-goes-on": change("        body = body if", "        if status:\n            sys.exit(status)\n        body = body if", good="resident"),
    "resident-bad-line": change('status, body = 1, {"error": {"message": "no request"}}', "status, body = 0, {}", good="resident"),
    "resident-keeps-nothing": change('    return {"vif": {"mtu": 1400}}', '    INFO["mtu"] = INFO.get("mtu", 1401) - 1\n    return {"vif": {"mtu": INFO["mtu"]}}', good="resident"),
    # --- dry run
    "dry-run-changes-nothing": change("    details = request.vif.details\n", '    details = request.vif.details\n    open("/run/extra" + request.vif.id, "w").close()\n', good="sdk"),
    "dry-run-without-device": change("    details = request.vif.details\n", '    details = request.vif.details\n    ask("ip", "link", "show", "dev", request.vif.devname)\n', good="sdk"),
    "dry-run-says-commands": change("    details = request.vif.details\n", "    details = request.vif.details\n    if request.dry_run:\n        return\n", good="sdk"),
    "dry-run-refuses": change("script.main()", 'if os.environ.get("VIFPLUG_DRY_RUN"):\n    sys.exit(0)\nscript.main()', good="sdk"),
}  # fmt: skip
