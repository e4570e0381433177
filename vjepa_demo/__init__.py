"""Mean opinion scores of AI-generated videos with V-JEPA 2, BGE and a small head.

The names below are loaded when they are first used: importing the package loads no model and no heavy library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vjepa_demo.model.vjepa import OptimizedMOSHead, VJEPAModel, create_vjepa_model
    from vjepa_demo.schema import DemoError, VideoScores
    from vjepa_demo.tasks.score import Scorer, get_scorer

_HOMES = {
    "DemoError": "schema",
    "OptimizedMOSHead": "model.vjepa",
    "Scorer": "tasks.score",
    "VJEPAModel": "model.vjepa",
    "VideoScores": "schema",
    "create_vjepa_model": "model.vjepa",
    "get_scorer": "tasks.score",
}

__all__ = [
    "DemoError",
    "OptimizedMOSHead",
    "Scorer",
    "VJEPAModel",
    "VideoScores",
    "create_vjepa_model",
    "get_scorer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
