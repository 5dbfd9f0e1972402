"""`python -m edge_app` is `edge-app`."""

import sys

from edge_app.cli import main

sys.exit(main())
