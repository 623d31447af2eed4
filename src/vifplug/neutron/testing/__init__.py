"""A real Neutron for the tests of a mechanism driver: ML2, its database, its whole REST API.

::

    import pytest
    from vifplug.neutron.testing import Neutron, needs_neutron

    pytestmark = needs_neutron


    @pytest.fixture(scope="module")
    def neutron():
        with Neutron("path/of/the/project") as neutron:
            yield neutron


    def test_a_port_of_a_vlan_network_is_bound(neutron):
        network = neutron.network("vlan", segmentation_id=104)
        port = neutron.port(network, host="compute-1")
        assert (port.vif_type, port.status) == ("ethernet", "ACTIVE")
        assert port.details["tag"] == 104

``python3 -m vifplug.neutron.testing PROJECT`` binds one port and prints it, as a host is given it.
"""

from __future__ import annotations

from .installed import NeutronMissing, missing
from .port import Port
from .process import ApiError
from .server import Neutron

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest

    #: skips a test where there is no Neutron, and says what to install
    needs_neutron: pytest.MarkDecorator

__all__ = ["ApiError", "Neutron", "NeutronMissing", "Port", "missing", "needs_neutron"]

if not TYPE_CHECKING:

    def __getattr__(name):
        if name != "needs_neutron":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import pytest  # whoever asks for a mark has it

        return pytest.mark.skipif(missing() is not None, reason=missing() or "")
