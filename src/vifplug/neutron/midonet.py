"""Mechanism driver ``midonet``: as the mail of 2014 has it. It is all that a vendor writes."""

from .driver import VifplugMechanismDriver


class MidonetMechanismDriver(VifplugMechanismDriver):
    """``vif_type=ethernet``, ``vif_plug_script=/usr/bin/neutron-midonet-vif-plug``."""

    vif_type = "ethernet"
    plug_script = "/usr/bin/neutron-midonet-vif-plug"
    port_filter = True  # MidoNet's agent filters
