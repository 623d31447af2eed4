"""vifplugd: the Host behind a Unix socket, and what keeps it right."""
