"""Checkpoints out and in: the visitor's own to the Hub, and one from a zip or the Hub to the Score tab."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo.app import html as render
from vjepa_demo.app.events import shown_errors
from vjepa_demo.app.model_choice import model_choices
from vjepa_demo.app.session import MINE, Session
from vjepa_demo.config import MAX_UPLOAD_BYTES
from vjepa_demo.schema import CheckpointError

if TYPE_CHECKING:
    from vjepa_demo.tasks.score import Scorer

LOADING: dict[str, Any] = {"concurrency_limit": 2, "api_visibility": "private"}
MY_MODEL, MY_UPLOAD = "my fine-tuned model", "my uploaded checkpoint"
OAUTH_VARIABLES = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL", "SPACE_ID")
OAUTH_LIBRARIES = ("authlib", "itsdangerous")  # gradio[oauth]; every Space with Gradio has them


# ---- to the Hub ------------------------------------------------------------------------------------------------------


def can_sign_in() -> bool:
    """Whether this is a Space with `hf_oauth` and what Gradio needs for it; elsewhere a LoginButton would keep the
    page from starting, or stand for the account of this machine."""
    on_a_space = os.environ.get("SYSTEM") == "spaces" and all(os.environ.get(name) for name in OAUTH_VARIABLES)
    return on_a_space and all(importlib.util.find_spec(name) is not None for name in OAUTH_LIBRARIES)


def add_sign_in() -> None:
    """A button to sign in with, where that is possible: above all else, because it loads the page anew."""
    if can_sign_in():
        gr.LoginButton(size="sm", elem_id="sign-in")
        gr.HTML(render.hint("To push a checkpoint to the Hub, sign in before you begin: it loads the page anew."))


def add_push(session: gr.State) -> gr.HTML:
    """Fields that upload the visitor's checkpoint to the Hub; returns the line that says where it went."""
    with gr.Accordion("Push to the Hub", open=False, elem_id="push"):
        repo_id = gr.Textbox(label="Repository", placeholder="owner/name", max_length=200, elem_id="push-repo")
        private = gr.Checkbox(True, label="Private", elem_id="push-private")
        token = gr.Textbox(
            label="Write token, if you are not signed in" if can_sign_in() else "Write token",
            info="A token of yours with write access, from huggingface.co/settings/tokens. It is used once, not kept.",
            type="password",
            max_length=200,
            elem_id="push-token",
        )
        button = gr.Button("Push", elem_id="push-button")
        answer = gr.HTML(elem_id="pushed")
    button.click(_push, [session, repo_id, private, token], [answer, token], show_progress_on=answer, **LOADING)
    return answer


def _push(
    session: Session, repo_id: str, private: bool, typed: str, signed_in: gr.OAuthToken | None = None
) -> tuple[str, str]:
    """A link to the uploaded checkpoint, and an empty field for the token. Never in the name of this machine."""
    from vjepa_demo.model.checkpoint import push_checkpoint

    with shown_errors():
        if session.checkpoint is None:
            raise CheckpointError("no checkpoint yet: train one first")
        token = (typed or "").strip() or (signed_in.token if signed_in is not None else "")
        if not token:
            raise CheckpointError("no token: paste one that may write, from huggingface.co/settings/tokens")
        url = push_checkpoint(session.checkpoint, (repo_id or "").strip(), token=token, private=private)
    return f'<p>Pushed to <a href="{escape(url)}" target="_blank" rel="noopener">{escape(url)}</a></p>', ""


# ---- to the Score tab ------------------------------------------------------------------------------------------------


def add_loader(session: gr.State, model: gr.Dropdown, tabs: gr.Tabs) -> None:
    """Ways to bring a checkpoint that was trained elsewhere or earlier, for this visitor alone."""
    with gr.Accordion("Use a checkpoint", open=False, elem_id="use-checkpoint"):
        archive = gr.File(
            label="A downloaded checkpoint (zip)", file_types=[".zip"], height=150, elem_id="checkpoint-zip"
        )
        name = gr.Textbox(
            label="or one on the Hub", placeholder="owner/name", max_length=200, elem_id="checkpoint-name"
        )
        button = gr.Button("Use it", size="sm", elem_id="checkpoint-button")
        state = gr.HTML(elem_id="checkpoint-state")
    outputs = [model, tabs, state]
    archive.upload(_use_zip, [session, archive], outputs, show_progress_on=state, **LOADING)
    gr.on([button.click, name.submit], _use_hub, [session, name], outputs, show_progress_on=state, **LOADING)


def choose_mine(session: Session) -> tuple[Any, Any]:
    """The Score tab's model choice with the checkpoint that this visitor trained in it and chosen, and that tab."""
    with shown_errors():
        scorer = session.own_scorer(MY_MODEL)
        if scorer is None:
            raise CheckpointError("no checkpoint yet: train one first")
        return _choose(session, scorer, session.scorer_of)


def _use_zip(session: Session, archive: str) -> tuple[Any, Any, str]:
    from vjepa_demo.model.checkpoint import check_stranger, open_checkpoint_zip
    from vjepa_demo.tasks.score import load_scorer

    with shown_errors(), tempfile.TemporaryDirectory(dir=session.folder, ignore_cleanup_errors=True) as folder:
        checkpoint = open_checkpoint_zip(archive, folder)
        check_stranger(checkpoint, Path(archive).name)
        scorer = load_scorer(folder, shown_as=MY_UPLOAD)
    return *_choose(session, scorer), _loaded(scorer)


def _use_hub(session: Session, name: str) -> tuple[Any, Any, str]:
    from vjepa_demo.model.checkpoint import find_public_checkpoint
    from vjepa_demo.tasks.score import load_scorer

    name = (name or "").strip()
    with shown_errors():
        checkpoint = find_public_checkpoint(name, max_bytes=MAX_UPLOAD_BYTES)
        scorer = load_scorer(str(checkpoint.folder), shown_as=name)
    return *_choose(session, scorer), _loaded(scorer)


def _choose(session: Session, scorer: Scorer, trained: Path | None = None) -> tuple[Any, Any]:
    """Make `scorer` the visitor's own, of the checkpoint `trained` here or else of a foreign one."""
    session.scorer, session.scorer_of = scorer, trained
    return gr.Dropdown(model_choices(session), value=MINE), gr.Tabs(selected="score")


def _loaded(scorer: Scorer) -> str:
    return render.hint(f"{scorer.name}, trained on {scorer.trained_on}, is chosen in the Score tab.")
