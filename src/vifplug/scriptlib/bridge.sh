# shellcheck shell=sh
# What plug scripts share that put a tap into a Linux bridge: sourced after plugscript.sh and links.sh.

guard=${0%/*}/../scriptlib/antispoofing.py

detail isolated boolean "let no two isolated guests of a bridge reach each other; left out: as the bridge has it"
detail anti_spoofing boolean "drop what the guest sends under another MAC or IP address than its own" default false
detail allowed_address_pairs array "what else the guest may send from, as Neutron writes it"

# join BRIDGE: the VIF's tap, and what was asked of its port
join() {
    run ip link set dev "$VIF_DEVNAME" up master "$1"
    case $VIF_DETAILS_ISOLATED in
        true) run ip link set dev "$VIF_DEVNAME" type bridge_slave isolated on ;;
        false) run ip link set dev "$VIF_DEVNAME" type bridge_slave isolated off ;;
    esac
}

# leave BRIDGE: if it is in that one, and not in somebody else's
leave() {
    _master=$(word_after master "$(describe "$VIF_DEVNAME")")
    [ -n "$_master" ] && [ "$_master" = "$1" ] || return 0
    run ip link set dev "$VIF_DEVNAME" nomaster
}

# unused BRIDGE [PORT]: no port is left, or that one alone
unused() {
    _ports=$(ask ip -oneline link show master "$1")
    [ -n "$_ports" ] || return 0
    [ -n "${2-}" ] || return 1
    case $_ports in
        *"
"*) return 1 ;;
        *": $2: "* | *": $2@"*) ;;
        *) return 1 ;;
    esac
}

# protect VERB: anti-spoofing, if it is asked for. Our standard input is its request, its reply is ours.
protect() {
    if [ "$VIF_DETAILS_ANTI_SPOOFING" = true ]; then
        /usr/bin/python3 -IS "$guard" "$1" >&8 || exit $?
    elif [ "$_verb" = update ]; then # perhaps it was asked for
        /usr/bin/python3 -IS "$guard" unplug >&8 || exit $?
    fi
}

check_port() { # BRIDGE
    _port=$(describe "$VIF_DEVNAME")
    _master=$(word_after master "$_port")
    [ "$_master" = "$1" ] || drift "bridge of $VIF_DEVNAME" "$1" "$_master"
    case $VIF_DETAILS_ISOLATED in
        true) _wanted=on ;;
        false) _wanted=off ;;
        *) _wanted='' ;;
    esac
    _isolated=$(word_after isolated "$_port")
    [ -z "$_wanted" ] || [ "$_isolated" = "$_wanted" ] || drift "isolation of $VIF_DEVNAME" "$_wanted" "$_isolated"
    [ "$VIF_DETAILS_ANTI_SPOOFING" = true ] || return 0
    _answer=$(/usr/bin/python3 -IS "$guard" check 8>&-) || fail "anti-spoofing of $VIF_DEVNAME cannot be checked"
    case $_answer in
        *'"ok": true'*) ;;
        *)
            _answer=${_answer#*'"found": "'}
            drift "anti-spoofing of $VIF_DEVNAME" "in force" "${_answer%%\"*}"
            ;;
    esac
}
