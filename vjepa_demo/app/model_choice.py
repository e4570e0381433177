"""The choice of a model, on every tab that scores: this page's own default, the presets, and the visitor's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app.events import AT_ONCE
from vjepa_demo.app.session import MINE, Session
from vjepa_demo.config import model_presets
from vjepa_demo.data.hub import Token

if TYPE_CHECKING:
    from vjepa_demo.tasks import Scorer


def model_choices(session: Session | None = None) -> list[tuple[str, str]]:
    """(what is shown, name) of each model that this visitor can choose."""
    presets = [
        (f"{preset.name}: {preset.summary}{' (no trained head yet)' if preset.refusal else ''}", preset.name)
        for preset in model_presets().values()
    ]
    if (hosted := tasks.hosted_model()) is not None:
        state = " (could not be loaded)" if hosted.is_settled else " (being loaded)"
        presets.insert(0, (f"{hosted.shown}: the model of this page{'' if hosted.is_ready else state}", hosted.shown))
    own = None if session is None else session.model
    if own is None or own.trained_on is None:
        return presets
    warning = " (does not beat the no-video baseline)" if own.trained_on.beats_baseline is False else ""
    return [*presets, (f"{own.name}{warning}", MINE)]


def refusal(model: str) -> str | None:
    """Why `model` cannot score; None where it can."""
    hosted = tasks.hosted_model()
    if hosted is not None and model == hosted.shown:
        return hosted.refusal
    return None if model == MINE else model_presets()[model].refusal


def model_names() -> list[str]:
    """The models that everybody can choose here."""
    hosted = tasks.hosted_model()
    return [*([] if hosted is None else [hosted.shown]), *model_presets()]


def base_names() -> list[str]:
    """Those that everybody can fine-tune here, and then download."""
    hosted = tasks.hosted_model()
    is_closed = hosted is not None and hosted.is_ready and not hosted.is_open
    return list(model_presets()) if is_closed else model_names()


def default_now(default_model: str) -> str:
    """The model of this page once it is loaded, until then `default_model`."""
    hosted = tasks.hosted_model()
    return hosted.shown if hosted is not None and hosted.is_ready else default_model


def load_scorer(name: str) -> Scorer:
    """The scorer of the model `name`; the first call loads torch, not before the page is painted."""
    hosted = tasks.hosted_model()
    return hosted.scorer() if hosted is not None and name == hosted.shown else tasks.get_scorer(name)


def source_of(name: str) -> tuple[str, Token]:
    """What stands for the model `name` outside the page, and who may read that: the model of this page everybody who is
    served by it, with the machine's own token."""
    hosted = tasks.hosted_model()
    return (hosted.name, None) if hosted is not None and name == hosted.shown else (name, False)


def base_of(name: str) -> tuple[str, Token]:
    """`source_of` the model `name` for fine-tuning, read as everybody may read it.

    Raises:
        ModelError: if visitors may not have what it is made of.
    """
    hosted = tasks.hosted_model()
    return (hosted.as_base() if hosted is not None and name == hosted.shown else name), False


def add_model_choice(default_model: str, elem_id: str) -> gr.Dropdown:
    """A field to choose the model with."""
    return gr.Dropdown(model_choices(), value=default_model, label="Model", elem_id=elem_id)


def follow(first: gr.Dropdown, other: gr.Dropdown, session: gr.State) -> None:
    """Keep both choices the same: what is chosen in `first`, the Score tab's, or in `other` is chosen in both."""
    first.change(
        lambda visitor, chosen: gr.Dropdown(model_choices(visitor), value=chosen), [session, first], other, **AT_ONCE
    )
    other.input(lambda chosen: chosen, other, first, **AT_ONCE)
