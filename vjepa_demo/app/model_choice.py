"""The choice of a model, on every tab that scores: the presets, and the visitor's own."""

from __future__ import annotations

import gradio as gr

from vjepa_demo.app.events import AT_ONCE
from vjepa_demo.app.session import MINE, Session
from vjepa_demo.config import model_presets


def model_choices(session: Session | None = None) -> list[tuple[str, str]]:
    """(what is shown, name) of each model that this visitor can choose."""
    presets = [
        (f"{preset.name}: {preset.summary}{' (no trained head yet)' if preset.refusal else ''}", preset.name)
        for preset in model_presets().values()
    ]
    own = None if session is None else session.model.scorer
    if own is None:
        return presets
    warning = " (does not beat the no-video baseline)" if own.trained_on.beats_baseline is False else ""
    return [*presets, (f"{own.name}{warning}", MINE)]


def refusal(model: str) -> str | None:
    """Why `model` cannot score; None where it can."""
    return None if model == MINE else model_presets()[model].refusal


def add_model_choice(default_model: str, elem_id: str) -> gr.Dropdown:
    """A field to choose the model with."""
    return gr.Dropdown(model_choices(), value=default_model, label="Model", elem_id=elem_id)


def follow(first: gr.Dropdown, other: gr.Dropdown, session: gr.State) -> None:
    """Keep both choices the same: what is chosen in `first`, the Score tab's, or in `other` is chosen in both."""
    first.change(
        lambda visitor, chosen: gr.Dropdown(model_choices(visitor), value=chosen), [session, first], other, **AT_ONCE
    )
    other.input(lambda chosen: chosen, other, first, **AT_ONCE)
