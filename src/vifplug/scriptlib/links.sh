# shellcheck shell=sh
# What plug scripts share that make devices with ip: sourced after plugscript.sh.

# What we make is in this link group from its very creation, so that a crash leaves no doubt whose it is.
group=1986814578

# One line about a device, or nothing: describe DEVICE [type bridge]
describe() { ask ip -details -oneline link show dev "$@" || :; }

ours() { # a line of describe
    case $1 in *" group $group "*) ;; *) return 1 ;; esac
}

is_up() { # a line of describe
    case $1 in *[\<,]UP[,\>]*) ;; *) return 1 ;; esac
}

# The word that follows another in a line of describe
word_after() {
    _words=${2#*" $1 "}
    [ "$_words" = "$2" ] || echo "${_words%% *}"
}

valid_name() {
    case $1 in
        '' | . | .. | -* | *[!A-Za-z0-9_.@-]* | ????????????????*) return 1 ;;
    esac
}

# add KIND NAME [OPTION]…: a device of ours, which is not in use before it is finished
add() {
    _kind=$1 _new=$2
    shift 2
    run ip link add name "$_new" group "$group" type "$_kind" "$@"
}

# finish DEVICE: up at last. It is not the host's: no IPv6 address, which has to be said before.
finish() {
    run ip link set dev "$1" addrgenmode none alias "made by the plug script $NAME"
    run ip link set dev "$1" up
}

check_up() { # WHAT, and what describe has of it
    if [ -z "$2" ]; then
        drift "$1" up missing
    elif ! is_up "$2"; then
        drift "$1" up down
    fi
}
