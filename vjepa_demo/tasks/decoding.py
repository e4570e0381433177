"""The process that decodes, for interfaces: it is made ready while this one loads torch and a model."""

from __future__ import annotations

from vjepa_demo.media.sandbox import prepare as prepare_decoding

__all__ = ["prepare_decoding"]
