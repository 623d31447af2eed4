# shellcheck shell=sh
# Write a plug script for vifplug in POSIX sh: source this file, say what the script is, write its verbs.
#
#   #!/bin/sh
#   . "${0%/*}/../plugscript.sh"
#
#   NAME=blue VERSION=1 VIF_TYPES=ethernet
#   detail bridge string "the bridge to join" required
#
#   plug() { run ip link set dev "$VIF_DEVNAME" up master "$VIF_DETAILS_BRIDGE"; }
#   unplug() { tolerate "Cannot find device" ip link set dev "$VIF_DEVNAME" nomaster; }
#
#   main "$@"
#
# The contract that this speaks is docs/contract.md; docs/writing-a-script.md tells an author the rest.
# Nothing is started here but the author's commands. Names that begin with _ are this file's own.
# shellcheck disable=SC2034  # some of these are for the script that sources this file

set -eu

NAME=${0##*/} VERSION=0
VIF_TYPES='' LOCKS='' UPDATE_FIELDS='' # lists: words with spaces between

# What the host always sets, for who tries a script by hand
: "${VIF_ID=}" "${VIF_TYPE=ethernet}" "${VIF_ADDRESS=}" "${VIF_MTU=}" "${VIF_INSTANCE_ID=}" "${VIF_INSTANCE_NAME=}"
: "${VIF_PROJECT_ID=}" "${VIF_NETWORK_ID=}" "${VIF_NETWORK_LABEL=}" "${VIF_NETWORK_BRIDGE=}" "${VIF_FIXED_IPS=}"
: "${VIF_DEVNAME=tap${VIF_ID%"${VIF_ID#???????????}"}}" "${VIF_OVS_INTERFACEID=$VIF_ID}" "${VIFPLUG_DEADLINE=30}"

_verb=${1-} _error='' _failed='' _failed_with='' _running='' _reply='' _drift=''
_properties='' _required='' _details_help='' _bad_detail=''

# --- for the author's functions ----------------------------------------------------------------

# run COMMAND [ARGUMENT]…: a command that changes something; a dry run only says it. What it prints
# is for the log. Returns its exit status (1 for one that means something in the contract), so that a
# script ends where it fails, unless that is expected: run … || …
run() {
    ! _only_said "$@" || return 0
    _begin '' "$@"
    "$@" >&2 8>&- || _status=$?
    _end
}

# ask COMMAND [ARGUMENT]…: a command that changes nothing, run in a dry run too: state=$(ask …)
ask() {
    _begin '"ask": true, ' "$@"
    "$@" 8>&- || _status=$?
    _end
}

# tolerate TEXT COMMAND [ARGUMENT]…: run, but failing is fine where the command says TEXT on standard
# error: what it should remove is gone, what it should make is there. Not for what starts a daemon.
tolerate() {
    _text=$1
    shift
    ! _only_said "$@" || return 0
    _begin '' "$@"
    { _words=$(LC_ALL=C && export LC_ALL && "$@" 2>&1 >&9 9>&- 8>&-) || _status=$?; } 9>&2
    [ -z "$_words" ] || log "$_words"
    case $_words in
        *"$_text"*) _end || : ;;
        *) _end ;;
    esac
}

# log WORD…: one line for people, kept with the call
log() { printf '%s\n' "$*" >&2 || :; }

# How a verb fails; MESSAGE reaches the caller
fail() { _fail 1 failed "$*"; }                # MESSAGE
bad_details() { _fail 65 bad_details "$*"; }   # MESSAGE: the binding asks for something that cannot be
unavailable() { _fail 69 backend_unavailable "$*"; } # MESSAGE: the network's own service is not there
retry_later() {                                # SECONDS MESSAGE: the host tries again after so long
    _after=$1
    shift
    _fail 75 retry_later "$*" ", \"retry_after\": $_after"
}

# reply FIELD VALUE: what plug or update alone knows: mtu 1400, path /run/x.sock, …
reply() {
    case $1 in
        mtu) _json=$2 ;;
        *) _to_json "$2" ;;
    esac
    _reply="$_reply${_reply:+, }\"$1\": $_json"
}

# drift WHAT EXPECTED FOUND: check noticed a difference; an empty value is null. Not from a pipe's
# end (… | while read …): that is another process, and what it notes is lost.
drift() {
    _to_json "$1"
    _found="{\"what\": $_json"
    _to_json_value "$2"
    _found="$_found, \"expected\": $_json"
    _to_json_value "$3"
    _drift="$_drift${_drift:+, }$_found, \"found\": $_json}"
}

# --- declarations --------------------------------------------------------------------------------

# detail NAME TYPE DESCRIPTION [required] [default VALUE] [one-of "WORD WORD …"] [minimum N] [maximum N]
# TYPE is string, integer, number, boolean, array or object; the last two come as JSON. The value is in
# VIF_DETAILS_NAME, checked, or the default; it is empty where the binding does not have it.
detail() {
    _name=$1 _type=$2 _about=$3 _default='' _needed='' _one_of='' _minimum='' _maximum=''
    shift 3
    while [ $# -gt 0 ]; do
        case $1 in
            required)
                _needed=yes
                shift
                continue
                ;;
            default) _default=$2 ;;
            one-of) _one_of=$2 ;;
            minimum) _minimum=$2 ;;
            maximum) _maximum=$2 ;;
            *) _declared_wrong "detail $_name: '$1' is none of required, default, one-of, minimum, maximum" ;;
        esac
        shift 2
    done
    case $_type in
        string | integer | number | boolean | array | object) ;;
        *) _declared_wrong "detail $_name: '$_type' is no type" ;;
    esac
    case $_verb in
        info) _describe ;;
        -h | --help) _details_help="$_details_help
  $_name ($_type${_needed:+, required}${_default:+, default $_default})  $_about" ;;
        *) _look_at ;;
    esac
}

_declared_wrong() {
    log "$NAME: $1"
    exit 1
}

_describe() {
    _to_json "$_about"
    _schema="\"type\": \"$_type\", \"description\": $_json"
    if [ -n "$_default" ]; then
        _typed "$_default"
        _schema="$_schema, \"default\": $_json"
    fi
    if [ -n "$_one_of" ]; then
        _list "$_one_of"
        _schema="$_schema, \"enum\": $_json"
    fi
    _schema="$_schema${_minimum:+, \"minimum\": $_minimum}${_maximum:+, \"maximum\": $_maximum}"
    _to_json "$_name"
    _properties="$_properties${_properties:+, }$_json: {$_schema}"
    [ -z "$_needed" ] || _required="$_required${_required:+, }$_json"
}

_typed() {
    case $_type in
        string) _to_json "$1" ;;
        *) _json=$1 ;;
    esac
}

# Puts the detail into its variable. What does not fit is refused before a plug or an update has done
# anything. Other verbs must work for what an older script plugged, and unplug for what was refused:
# there it counts as missing.
_look_at() {
    _variable_of "$_name"
    eval "_value=\${$_variable-}"
    _wrong=''
    if [ -n "$_value" ]; then
        _find_wrong
    elif [ -n "$_needed" ]; then
        _wrong="is missing ($_about)"
    fi
    if [ -n "$_wrong" ]; then
        case $_verb in
            plug | update) _bad_detail=${_bad_detail:-"vif_details.$_name $_wrong"} ;;
            *) [ -z "$_value" ] || log "$NAME: vif_details.$_name $_wrong: it counts as missing" ;;
        esac
        _value=''
    fi
    _value=${_value:-$_default}
    eval "$_variable=\$_value"
}

_find_wrong() {
    case $_type in
        integer) case ${_value#-} in '' | *[!0-9]*) _wrong="must be an integer" ;; esac ;;
        number) case ${_value#-} in '' | [!0-9]* | *[!0-9.eE+-]*) _wrong="must be a number" ;; esac ;;
        boolean) case $_value in true | false) ;; *) _wrong="must be true or false" ;; esac ;;
        array) case $_value in '['*) ;; *) _wrong="must be a list" ;; esac ;;
        object) case $_value in '{'*) ;; *) _wrong="must be an object" ;; esac ;;
    esac
    if [ -z "$_wrong" ] && [ -n "$_one_of" ]; then
        case " $_one_of " in
            *" $_value "*) ;;
            *) _wrong="must be one of: $_one_of" ;;
        esac
    fi
    if [ -z "$_wrong" ] && [ -n "$_minimum" ] && [ "$_value" -lt "$_minimum" ]; then _wrong="must be at least $_minimum"; fi
    if [ -z "$_wrong" ] && [ -n "$_maximum" ] && [ "$_value" -gt "$_maximum" ]; then _wrong="must be at most $_maximum"; fi
    if [ -z "$_wrong" ]; then return; fi
    if [ ${#_value} -le 100 ]; then _wrong="$_wrong, not '$_value'"; else _wrong="$_wrong, not ${#_value} characters"; fi
}

_variable_of() {
    _variable=VIF_DETAILS_ _rest=$1
    while [ -n "$_rest" ]; do
        _c=${_rest%"${_rest#?}"}
        _rest=${_rest#?}
        case $_c in
            a) _c=A ;; b) _c=B ;; c) _c=C ;; d) _c=D ;; e) _c=E ;; f) _c=F ;; g) _c=G ;;
            h) _c=H ;; i) _c=I ;; j) _c=J ;; k) _c=K ;; l) _c=L ;; m) _c=M ;; n) _c=N ;;
            o) _c=O ;; p) _c=P ;; q) _c=Q ;; r) _c=R ;; s) _c=S ;; t) _c=T ;; u) _c=U ;;
            v) _c=V ;; w) _c=W ;; x) _c=X ;; y) _c=Y ;; z) _c=Z ;;
            [0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ]) ;;
            *) _c=_ ;;
        esac
        _variable=$_variable$_c
    done
}

# --- the script's process ------------------------------------------------------------------------

# main "$@": the last line of a script
main() {
    case $_verb in
        info)
            _info
            exit 0
            ;;
        -h | --help | '')
            _help
            [ -n "$_verb" ] || exit 64
            exit 0
            ;;
    esac
    exec 8>&1 1>&2 # what the author's commands print is for the log: only we write replies
    trap _finish EXIT
    trap _terminated TERM
    case $_verb in
        plug | unplug | check | update | activate) ;;
        *) _unknown_verb ;;
    esac
    _has "$_verb" || _unknown_verb
    [ -n "$VIF_ID" ] || fail "no request: VIF_ID is not set"
    [ -z "$_bad_detail" ] || bad_details "$_bad_detail"
    "$_verb"
    case $_verb in
        check)
            if [ -n "$_drift" ]; then
                printf '%s\n' "{\"ok\": false, \"drift\": [$_drift]}" >&8
            else
                echo '{"ok": true}' >&8
            fi
            ;;
        *) [ -z "$_reply" ] || printf '%s\n' "{\"vif\": {$_reply}}" >&8 ;;
    esac
    exit 0
}

_unknown_verb() {
    _know
    _fail 64 verb_not_supported "unknown verb '$_verb': info $_known are known"
}

# A function, not a program of that name. ($(command -v …) would tell too, and cost a process.)
_has() { PATH=/dev/null command -v "$1" >/dev/null; }

_know() { # leaves in _known which verbs there are
    _known=''
    for _each in plug unplug check update activate; do
        ! _has "$_each" || _known="$_known${_known:+ }$_each"
    done
}

_info() {
    _to_json "$NAME"
    _answer="{\"name\": $_json"
    _to_json "$VERSION"
    _answer="$_answer, \"version\": $_json, \"protocols\": [1]"
    _know
    _list "$_known"
    _answer="$_answer, \"verbs\": $_json"
    _list "$VIF_TYPES"
    _answer="$_answer, \"vif_types\": $_json"
    _answer="$_answer, \"details_schema\": {\"type\": \"object\", \"properties\": {$_properties}${_required:+, \"required\": [$_required]}}"
    _list "$LOCKS"
    _answer="$_answer, \"locks\": $_json"
    _list "$UPDATE_FIELDS"
    _answer="$_answer, \"update_fields\": $_json, \"resident\": false, \"dry_run\": true}"
    printf '%s\n' "$_answer"
}

_help() {
    _know
    printf '%s\n' "$NAME $VERSION, a plug script for vifplug

usage: VIF_ID=… VIF_DEVNAME=… VIF_DETAILS_…=… $0 VERB
VERB is one of: info $_known. VIFPLUG_DRY_RUN=1 says what would be done."
    [ -z "$_details_help" ] || printf 'Details:%s\n' "$_details_help"
}

_fail() { # STATUS CODE MESSAGE [MORE]
    log "$NAME: $3"
    _error="{\"error\": {\"code\": \"$2\"${4-}"
    if [ ${#3} -le $_long ]; then # a longer one is cut by the host, from the log
        _to_json "$3"
        _error="$_error, \"message\": $_json"
    fi
    _error="$_error}}"
    exit "$1"
}

# The error is said here and not in _fail: that may run in a subshell whose end the author tolerates.
_finish() {
    _status=$?
    trap - EXIT
    if [ "$_status" -ne 0 ]; then
        if [ -n "$_error" ]; then
            printf '%s\n' "$_error" >&8
        elif [ "$_status" = "$_failed_with" ]; then
            log "$NAME: $_failed"
        fi
    fi
    exit "$_status"
}

# SIGTERM: the deadline is over. Says which command it was that took so long.
_terminated() {
    trap - EXIT TERM
    [ -z "$_running" ] || log "#vifplug {\"run\": $_running, \"exit\": null}"
    kill -TERM $$
}

# --- the trace -----------------------------------------------------------------------------------

_only_said() { # in a dry run, says the command and succeeds
    [ "${VIFPLUG_DRY_RUN-}" = 1 ] || return 1
    _array "$@"
    log "#vifplug {\"run\": $_json, \"dry\": true}"
}

_begin() { # MARKS COMMAND…
    _marks=$1
    shift
    command -v "$1" >/dev/null 2>&1 || unavailable "the command $1 is not there: is it installed on this host?"
    _array "$@"
    _running=$_json _shown=$* _status=0
    _uptime
    _began=$_now
}

_end() {
    _uptime
    _seconds=$((_now - _began))
    case $_seconds in
        ?) _seconds=0.0$_seconds ;;
        ??) _seconds=0.$_seconds ;;
        *) _seconds=${_seconds%??}.${_seconds#"${_seconds%??}"} ;;
    esac
    log "#vifplug {\"run\": $_running, $_marks\"seconds\": $_seconds, \"exit\": $_status}"
    _running=''
    [ "$_status" -ne 0 ] || return 0
    _failed="$_shown ended with exit status $_status"
    case $_status in 64 | 65 | 69 | 75) _status=1 ;; esac # the command's own, not the contract's
    _failed_with=$_status
    return "$_status"
}

# sh has no clock; the kernel tells hundredths of a second without a process
_uptime() {
    read -r _now _rest </proc/uptime
    _now=${_now%.*}${_now#*.}
    _now=${_now#"${_now%%[!0]*}"}
    _now=${_now:-0}
}

# --- JSON ----------------------------------------------------------------------------------------

# Each of these leaves its result in _json: $(…) would cost a process. What takes long for a long text is
# not done for one that is longer than this.
_long=4000

_array() {
    _all='['
    for _each in "$@"; do
        [ ${#_each} -le $_long ] || _each="(${#_each} characters)"
        _to_json "$_each"
        _all="$_all$_json, "
    done
    _json=${_all%, }]
}

_list() { # of the words in $1
    set -f
    # shellcheck disable=SC2086
    _array $1
    set +f
}

_to_json_value() {
    case $1 in
        '') _json=null ;;
        true | false | 0) _json=$1 ;;
        *[!0-9]* | 0*) _to_json "$1" ;;
        *) _json=$1 ;;
    esac
}

_to_json() {
    case $1 in
        *[!A-Za-z0-9\ _.,:/=@%+-]*) _escape "$1" ;;
        *) _json="\"$1\"" ;;
    esac
}

# Quotes, backslashes and control characters; all else, UTF-8 too, is passed on as it is.
_escape() {
    [ -n "${_controls-}" ] || _controls=$(printf '\001\002\003\004\005\006\007\010\011\012\013\014\015\016\017\020\021\022\023\024\025\026\027\030\031\032\033\034\035\036\037')
    _rest=$1 _json='"'
    while :; do
        _plain=${_rest%%["$_controls\"\\"]*}
        _json=$_json$_plain
        _rest=${_rest#"$_plain"}
        case $_rest in
            '') break ;;
            '"'*) _json=$_json\\\" ;;
            \\*) _json=$_json\\\\ ;;
            *) _escape_control ;;
        esac
        _rest=${_rest#?}
    done
    _json=$_json\"
}

_escape_control() { # the first character of _rest
    _left=$_controls
    while [ "$_rest" = "${_rest#"${_left%"${_left#?}"}"}" ]; do _left=${_left#?}; done
    _code=$((32 - ${#_left}))
    _high=$((_code / 16)) _low=$((_code % 16))
    case $_low in 10) _low=a ;; 11) _low=b ;; 12) _low=c ;; 13) _low=d ;; 14) _low=e ;; 15) _low=f ;; esac
    _json=${_json}\\u00$_high$_low
}
