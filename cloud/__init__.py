"""A whole OpenStack on one test host, with vifplug in it, for ``./dev cloud``.

Nova, Neutron, Placement, Glance, RabbitMQ and PostgreSQL on a controller; compute nodes with libvirt and QEMU; each
in namespaces of its own.

Two things are not the real ones: identity (whoever asks is an administrator), and the block storage (there is none).
"""
