"""``python -m vifplug.daemon``."""

import sys

from .main import main

sys.exit(main())
