"""./dev soak: vifplugd under load, while it and all around it is killed: nothing may be lost or left."""
