"""`python -m qlrjax.cli` is the command `qlrjax`."""

import sys

from qlrjax.cli import main

sys.exit(main())
