"""The host agent: a Neutron L2 agent that plugs through vifplugd, for clouds that leave nova-compute alone.

``main`` starts it and ``agent`` puts it together. ``taps`` hears of Nova's taps from the kernel, ``neutron`` asks
and tells the servers, ``listening`` hears from them, ``reporting`` reports the host's state. ``vifs`` has what is on
this host and what should be; ``vif`` brings one VIF from the one to the other.

It is a process of its own, without privilege, beside vifplugd: a daemon that may change every device of a host
should carry neither an RPC stack nor the credentials of the cloud's message bus.
"""
