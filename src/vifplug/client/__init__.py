"""A client of vifplugd that needs the standard library alone.

from vifplug.client import Client

with Client() as host:
    plugged = host.plug(binding)  # connects it; plugged.xml is the guest's <interface>
    host.unplug(plugged.id)  # undoes it
"""

from .answers import Answer
from .client import DEFAULT_SOCKET, Client

__all__ = ["DEFAULT_SOCKET", "Answer", "Client"]
