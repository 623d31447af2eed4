"""``[vifplug_agent]``."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

GROUP = "vifplug_agent"

OPTIONS = [
    cfg.StrOpt("socket", help="vifplugd's socket. Unset: VIFPLUG_SOCKET, else /run/vifplug/vifplugd.sock."),
    cfg.BoolOpt(
        "plugs",
        default=True,
        help="Whether the agent plugs. If not it only reports the host's plug scripts, for a host whose nova-compute "
        "has vifplug's os-vif plugin.",
    ),
    cfg.ListOpt(
        "physical_networks",
        help="The physical networks that this host reaches. Unset: the agent does not say, and ports of any are bound.",
    ),
    cfg.IntOpt(
        "resync_interval",
        default=300,
        min=5,
        help="Seconds between two comparisons of all that is bound, plugged and there. What is told by notifications "
        "and by the kernel does not wait for it.",
    ),
    cfg.IntOpt(
        "abandoned_after",
        default=30,
        min=1,
        help="Seconds after which a tap of a port that is bound here no longer, and that no process holds open, is "
        "removed: Nova removes its own sooner, except after some live migrations that failed.",
    ),
]


def register(conf: Any) -> None:
    """With those that Neutron's own agents have: [AGENT] report_interval, and what its RPC clients ask for."""
    from neutron.conf import service
    from neutron.conf.agent import common

    conf.register_opts(OPTIONS, group=GROUP)
    common.register_agent_state_opts_helper(conf)
    service.register_service_opts(service.RPC_EXTRA_OPTS, conf)


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo-config-generator."""
    return [(GROUP, OPTIONS)]
