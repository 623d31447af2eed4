"""VIFs in libvirt's domains: attached, detached, and there from a guest's start to its end.

Needs Python's binding to libvirt (``pip install 'vifplug[libvirt]'``)::

    from vifplug import Host
    from vifplug.libvirt import attach, connect, detach, find_domain

    with Host() as host:
        domain = find_domain(connect(), "guest")
        attach(host, domain, binding)      # plugged, and in the running guest and its definition
        detach(host, domain, vif_id)       # the guest has let go of it, and it is unplugged

``host`` may be vifplugd's client for Python that answers as Host does (`vifplug.remote.RemoteHost`); ``domain`` any
``libvirt.virDomain``.
"""

from .attach import Attached, attach
from .connection import connect, find_domain
from .detach import Detached, detach
from .domain import Defined, Started, define, start, vifs_of
from .migrate import Migrated, Phase, finish, migrate
from .stored import Fate
from .update import Updated, update
from .watch import Watcher

__all__ = [
    "Attached",
    "Defined",
    "Detached",
    "Fate",
    "Migrated",
    "Phase",
    "Started",
    "Updated",
    "Watcher",
    "attach",
    "connect",
    "define",
    "detach",
    "find_domain",
    "finish",
    "migrate",
    "start",
    "update",
    "vifs_of",
]
