"""Mean opinion scores of AI-generated videos with V-JEPA 2, BGE and a small head.

The names below are loaded when they are first used: importing the package loads no model and no heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vjepa_demo.lazy import attach

if TYPE_CHECKING:
    from vjepa_demo.model.vjepa import OptimizedMOSHead, VJEPAModel, create_vjepa_model
    from vjepa_demo.schema import DemoError, VideoScores
    from vjepa_demo.tasks.score import Scorer, get_scorer

__all__ = [
    "DemoError",
    "OptimizedMOSHead",
    "Scorer",
    "VJEPAModel",
    "VideoScores",
    "create_vjepa_model",
    "get_scorer",
]

__getattr__ = attach(
    __name__,
    {
        **dict.fromkeys(("OptimizedMOSHead", "VJEPAModel", "create_vjepa_model"), "model.vjepa"),
        **dict.fromkeys(("DemoError", "VideoScores"), "schema"),
        **dict.fromkeys(("Scorer", "get_scorer"), "tasks.score"),
    },
)
