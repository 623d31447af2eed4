"""A conformance kit for plug scripts: runs one in namespaces of its own and says how it keeps the contract.

::

    import pytest
    from vifplug.conformance import Subject, cases

    BRIDGE = ["ip link add br0 type bridge", "ip link set br0 up"]
    SUBJECT = Subject(script="./blue", details={"bridge": "br0"}, setup=BRIDGE)

    @pytest.mark.parametrize("case", cases(SUBJECT), ids=str)
    def test_it_keeps_the_contract(case):
        case()
"""

from .case import Case, Result
from .cases import CASES
from .pytest_cases import BoundCase, cases
from .report import Report, Speed, explained
from .session import conform
from .subject import Subject

__all__ = [
    "CASES",
    "BoundCase",
    "Case",
    "Report",
    "Result",
    "Speed",
    "Subject",
    "cases",
    "conform",
    "explained",
]
