"""Write the example clips of the page: `python scripts/make_examples.py`."""

from __future__ import annotations

import csv
from pathlib import Path

from vjepa_demo.config import ASSETS
from vjepa_demo.synthetic import example_clips
from vjepa_demo.video import write_video
