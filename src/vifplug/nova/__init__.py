"""Plug scripts for Nova: an os-vif plugin that nova-compute loads by its entry point, with nothing to configure.

``plugin`` is what os-vif loads; ``hooks`` is where Nova is met, and ``releases`` says which Nova that may be;
``binding`` makes a port binding of what Nova knows, ``config`` the guest's XML from it.
"""
