"""``vifplug doctor``: looks at a host and says what keeps, or may one day keep, its VIFs from working.

A check is a function of a file in ``checks``: it is given the place to look at and yields findings::

    @check("sysctl", "arp-ignore", "Whether the host answers ARP for a guest's gateway")
    def arp_ignore(place: Place) -> Findings:
        if place.number("/proc/sys/net/ipv4/conf/all/arp_ignore") < 3:
            yield ok("the host answers ARP")
        else:
            yield warning("…", why="…", do="sysctl -w net.ipv4.conf.all.arp_ignore=0")

It need not mind what it may not see or cannot understand: that becomes a finding by itself.
"""

from .check import CHECKS, Check, Finding, Level
from .examine import Report, examine
from .place import Place

__all__ = ["CHECKS", "Check", "Finding", "Level", "Place", "Report", "examine"]
