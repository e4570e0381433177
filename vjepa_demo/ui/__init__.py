"""The page. `build_app` is handed what it drives and knows no tensor."""

from vjepa_demo.ui.app import build_app, launch

__all__ = ["build_app", "launch"]
