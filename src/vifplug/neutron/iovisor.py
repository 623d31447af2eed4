"""Mechanism driver ``iovisor``: PLUMgrid's, as the mail of 2014 has it. It is all that a vendor writes."""

from .driver import VifplugMechanismDriver


class IovisorMechanismDriver(VifplugMechanismDriver):
    """``vif_type=ethernet``, ``vif_plug_script=/usr/bin/neutron-iovisor-vif-plug``."""

    vif_type = "ethernet"
    plug_script = "/usr/bin/neutron-iovisor-vif-plug"
    port_filter = True  # PLUMgrid filters in its own data path
