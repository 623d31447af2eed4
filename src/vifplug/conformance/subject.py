"""What is put to the test: a plug script, and the little world that it needs around it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Subject(Struct, frozen=True, kw_only=True):
    """A plug script and how to test it. ``script`` is a bare name that this host trusts, or a path."""

    script: str
    #: vif_details of a binding that this script can plug. ``{number}`` in a text is another number for each VIF.
    details: dict[str, Any] = field(default_factory=dict)
    #: details that differ from ``details``, which a plug and an update must take as well
    changed_details: dict[str, Any] = field(default_factory=dict)
    #: the first that the script's info names, else ethernet
    vif_type: str | None = None
    #: shell commands that make what the script expects on a host: bridges, daemons
    setup: list[str] = field(default_factory=list)
    #: shell commands that print what the backend has: that is compared too where nothing may be left behind
    watch: list[str] = field(default_factory=list)
    #: shell commands, each of which must make ``check`` see drift; ``$VIF_DEVNAME`` and ``$VIF_ID`` are set
    perturb: list[str] = field(default_factory=list)
    #: granted beside CAP_NET_ADMIN and CAP_NET_RAW
    capabilities: list[str] = field(default_factory=list)
    #: what the operator adds to the script's environment
    environment: dict[str, str] = field(default_factory=dict)
    #: directories below /run, /tmp, /var/tmp or /dev/shm that the script needs; the rest of these is empty for it
    keep: list[str] = field(default_factory=list)
    #: deadline of each call
    seconds: float = 10.0
