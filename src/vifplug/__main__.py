"""``python -m vifplug``."""

import sys

from .cli import main

sys.exit(main())
