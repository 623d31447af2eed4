"""What a guest that runs can be shown otherwise of a VIF that it has, and what not."""

from __future__ import annotations

from ..errors import UpdateRefused
from ..model import Vif, changed_fields

#: what QEMU gives a device when it makes it, and nobody changes afterwards
_MADE_WITH = {"model", "driver", "boot_order"}


def refuse_fixed(old: Vif, new: Vif) -> None:
    """Raise UpdateRefused, naming the fields, for what a running guest's device keeps as long as it is there."""
    refused = sorted(name for name in changed_fields(old, new) if name.split(".")[0] in _MADE_WITH)
    if refused:
        raise UpdateRefused(
            f"{', '.join(refused)} of VIF {new.id} cannot be changed while its guest runs, whose device was made so:"
            " detach it and attach it again, or change it where the guest is defined, for its next start",
            vif_id=new.id,
            fields=refused,
        )
