"""`python -m vjepa_demo`: the command line."""

from vjepa_demo.app.cli import main

raise SystemExit(main())
