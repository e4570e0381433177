"""How much faster fine-tuning is than the reference way, and how much less memory it takes.

    python -m benchmarks.finetune [--model vitl|tiny] [--clips N] [--batch N] [--frames N] [--epochs N]

Fine-tunes a model with random weights on N clips of noise with labels, of which a fifth validate: scope `top`, scope
`head`, and the reference way. That is transformers' AutoModel in float32: in each step the whole encoder and the
predictor run on the pixels of a whole batch, the same layers and the same head learn, with the same labels, loss,
optimizer and rates. Each way runs in a process of its own, after another; with `tiny` all run in this one, whose memory
says nothing. Clips are ready in all ways: nothing is decoded. Dropout is off, so that the losses of the first epoch,
before anything was learned, are the same where the clips are one batch.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import batched
from pathlib import Path
from typing import Literal

from vjepa_demo.config import (
    BASE_LEARNING_RATE,
    DIMENSIONS,
    LEARNING_RATE_FACTORS,
    PROJECT_ROOT,
    ClipConfig,
    ModelConfig,
    TrainConfig,
    wait_passively,
)
