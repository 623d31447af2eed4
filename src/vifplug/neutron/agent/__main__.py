"""``python -m vifplug.neutron.agent`` is ``vifplug-neutron-agent``."""

from .main import main

main()
