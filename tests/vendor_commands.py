"""What the stand-ins for vendors' commands do: sh, with $place for what the vendor's switch remembers.

Each ends and prints as its vendor's own does, as far as that is known from the source named here.
"""

from __future__ import annotations

#: PLUMgrid's ifc_ctl, as its installer knows it (update_gw_ifc.sh): what is wrong is printed, with status 0
IFC_CTL = """
list=$place/ifc_list_gateway
known() { grep -q "^$1 = " "$list"; }
case $2 in
add_port) if known "$3"; then echo "ERROR: $3 exists"; else echo "$3 = added" >>"$list"; fi ;;
ifup) if known "$3"; then sed -i "s/^$3 = .*/$3 = up/" "$list"; else echo "ERROR: no $3"; fi ;;
ifdown) if known "$3"; then sed -i "s/^$3 = .*/$3 = added/" "$list"; else echo "ERROR: no $3"; fi ;;
del_port) if known "$3"; then sed -i "/^$3 = /d" "$list"; else echo "ERROR: no $3"; fi ;;
esac
"""

#: MidoNet's mm-ctl (MmCtl.java); a port that is not bound is a state error, as when ZooKeeper is away
MM_CTL = """
case $1 in
--bind-port) echo "$3" >"$place/port-$2" ;;
--unbind-port) rm "$place/port-$2" 2>/dev/null || { echo "State configuration error" >&2; exit 3; } ;;
--list-hosts)
    echo "Host: id=11111111-0000-4000-8000-000000000000 (*)"
    echo "  vport-host-if-bindings:"
    for port in "$place"/port-*; do
        [ ! -e "$port" ] || echo "    VirtualPortMapping{port=${port#*/port-}, device=$(cat "$port")}"
    done
    echo "Host: id=22222222-0000-4000-8000-000000000000 "
    echo "    VirtualPortMapping{port=4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01, device=tap4c1b1b0a-7d}"
    ;;
esac
"""

#: Big Switch's ivs-ctl (ivs-ctl.c)
IVS_CTL = """
ports=$place/ports
case $1 in
add-port)
    ip link show dev "$2" >/dev/null 2>&1 || { echo "Failed: No such device" >&2; exit 1; }
    ! grep -qx "$2" "$ports" || { echo "Failed: Device or resource busy" >&2; exit 1; }
    echo "$2" >>"$ports" ;;
del-port)
    grep -qx "$2" "$ports" || { echo "Failed: No such device" >&2; exit 1; }
    sed -i "/^$2\\$/d" "$ports" ;;
show)
    echo indigo
    echo "  ports:"
    while read -r port; do echo "    1 $port "; echo "      rx: packets=0"; done <"$ports" ;;
esac
"""

#: Tungsten Fabric's vrouter-port-control, which keeps a file for each port
PORT_CONTROL = """
for argument; do case $argument in
--oper=*) oper=${argument#*=} ;;
--uuid=*) uuid=${argument#*=} ;;
--tap_name=*) tap=${argument#*=} ;;
--mac=*) mac=${argument#*=} ;;
esac; done
case $oper in
add) echo "{\\"system-name\\": \\"$tap\\", \\"mac-address\\": \\"$mac\\"}" >"$place/ports/$uuid" ;;
delete) rm -f "$place/ports/$uuid" ;;
esac
"""

#: 6WIND's fp-vdev: a device comes and goes
FP_VDEV = """
case $1 in
add) ip tuntap add dev "$2" mode tap ;;
del) ip link delete dev "$2" ;;
esac
"""

#: ovs-vsctl, as far as fp-vdev's ports need it: which bridge a port is in
OVS_VSCTL = """
case "$*" in
*" add-port "*) echo "$7" >"$place/ovs-$8" ;;
*" del-port "*) rm -f "$place/ovs-$5" ;;
"port-to-br "*) [ ! -f "$place/ovs-$2" ] || cat "$place/ovs-$2" ;;
esac
"""

#: Mellanox's ebrctl: prints the device that it plugged; trips over eswitchd's answer to an unknown address
EBRCTL = """
case $1 in
add-port) echo "$6" >"$place/port-$2"; printf %s "$6" ;;
del-port) rm "$place/port-$3" 2>/dev/null || { echo "Traceback:
KeyError: 'dev'" >&2; exit 1; } ;;
esac
"""
