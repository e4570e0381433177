"""Out to the Hub: what a visitor made. In from a zip or the Hub: a checkpoint, to the Score tab."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app import html as render
from vjepa_demo.app.events import PROGRESS, Values, shown_errors
from vjepa_demo.app.model_choice import model_choices
from vjepa_demo.app.session import MINE, Session
from vjepa_demo.schema import CheckpointError, DemoError

if TYPE_CHECKING:
    from vjepa_demo.tasks import Scorer

LOADING: dict[str, Any] = {"concurrency_limit": 2, "api_visibility": "private"}
# Of checkpoints and data sets together: an upload may take minutes.
PUSHING: dict[str, Any] = {"concurrency_limit": 4, "concurrency_id": "pushing", "api_visibility": "private"}
MY_MODEL, MY_UPLOAD = "my fine-tuned model", "my uploaded checkpoint"
NO_CHECKPOINT = "there is no checkpoint yet: train one first"
OAUTH_VARIABLES = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL", "SPACE_ID")
OAUTH_LIBRARIES = ("authlib", "itsdangerous")  # gradio[oauth]; every Space with Gradio has them


# ---- to the Hub ------------------------------------------------------------------------------------------------------


def can_sign_in() -> bool:
    """Whether this is a Space with `hf_oauth` and what Gradio needs for it. Elsewhere a LoginButton would keep the page
    from starting, or stand for the account of this machine."""
    on_a_space = os.environ.get("SYSTEM") == "spaces" and all(os.environ.get(name) for name in OAUTH_VARIABLES)
    return on_a_space and all(importlib.util.find_spec(name) is not None for name in OAUTH_LIBRARIES)


def add_sign_in() -> None:
    """A button to sign in with, where that is possible: above everything else, because it reloads the page."""
    if can_sign_in():
        gr.LoginButton(size="sm", elem_id="sign-in")
        gr.HTML(render.hint("To push to the Hub, sign in before you begin: signing in reloads the page."))


class Push(Protocol):
    """What a push uploads, with the account that `token` is of."""

    def __call__(self, values: Values, repo_id: str, *, private: bool, token: str, progress: gr.Progress) -> str:
        """Uploads to the repository `repo_id`; returns the address of its page. Raises DemoError where that fails."""


def add_push(
    push: Push, inputs: set[Any], *, elem_id: str = "push", title: str = "Push to the Hub", note: str = ""
) -> gr.HTML:
    """Fields with which `push` uploads what the `inputs` say to the Hub, never as the account of this machine; returns
    the line that says where it went. `note` is told above the fields."""
    with gr.Accordion(title, open=False, elem_id=elem_id):
        if note:
            gr.HTML(render.hint(note))
        repo_id = gr.Textbox(label="Repository", placeholder="owner/name", max_length=200, elem_id=f"{elem_id}-repo")
        private = gr.Checkbox(True, label="Private", elem_id=f"{elem_id}-private")
        token = gr.Textbox(
            label="Write token, if you are not signed in" if can_sign_in() else "Write token",
            info="A token with write access, from huggingface.co/settings/tokens. It is used once and not kept.",
            type="password",
            max_length=200,
            elem_id=f"{elem_id}-token",
        )
        button = gr.Button("Push", elem_id=f"{elem_id}-button")
        answer = gr.HTML(elem_id=f"{elem_id}ed")

    def pushed(values: Values, signed_in: gr.OAuthToken | None = None, progress: gr.Progress = PROGRESS) -> Values:
        """A link to what was uploaded, and an empty field for the token."""
        typed = (values[token] or "").strip() or (signed_in.token if signed_in is not None else "")
        with shown_errors():
            if not typed:
                raise DemoError(
                    "the token is missing: paste one with write access, from huggingface.co/settings/tokens"
                )
            name = (values[repo_id] or "").strip()
            url = push(values, name, private=bool(values[private]), token=typed, progress=progress)
        link = f'<a href="{escape(url)}" target="_blank" rel="noopener">{escape(url)}</a>'
        return {answer: f"<p>Pushed to {link}</p>", token: ""}

    button.click(pushed, {*inputs, repo_id, private, token}, [answer, token], show_progress_on=answer, **PUSHING)
    return answer


def add_push_checkpoint(session: gr.State, elem_id: str = "push") -> gr.HTML:
    """`add_push` of the checkpoint that this visitor trained."""

    def push(values: Values, repo_id: str, *, private: bool, token: str, progress: gr.Progress) -> str:
        checkpoint = values[session].model.checkpoint
        if checkpoint is None:
            raise CheckpointError(NO_CHECKPOINT)
        progress(0.0, desc="Uploading")
        return tasks.push_checkpoint(checkpoint, repo_id, token=token, private=private)

    return add_push(push, {session}, elem_id=elem_id)


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

    told: dict[str, Any] = {"outputs": [model, tabs, state], "show_progress_on": state, **LOADING}
    archive.upload(lambda visitor, path: chosen(visitor, use_zip(visitor, path)), [session, archive], **told)
    gr.on(
        [button.click, name.submit],
        lambda visitor, repo_id: chosen(visitor, use_hub(visitor, repo_id or "")),
        [session, name],
        **told,
    )


def add_use(session: gr.State, event: Callable[..., Any], model: gr.Dropdown, tabs: gr.Tabs) -> None:
    """At `event` the checkpoint that this visitor trained is chosen in the Score tab, and that tab shown."""
    event(lambda visitor: chosen(visitor, use_trained(visitor))[:2], session, [model, tabs], **LOADING)


def chosen(session: Session, scorer: Scorer) -> tuple[gr.Dropdown, gr.Tabs, str]:
    """The Score tab's model choice with the visitor's own model chosen, that tab in front, and what was chosen."""
    said = f"{scorer.name}, trained on {scorer.trained_on}, is chosen in the Score tab."
    return gr.Dropdown(model_choices(session), value=MINE), gr.Tabs(selected="score"), render.hint(said)


def use_trained(session: Session) -> Scorer:
    """The checkpoint that was trained here is the visitor's own model now."""
    with shown_errors():
        scorer = session.own_scorer(MY_MODEL)
        if scorer is None:
            raise CheckpointError(NO_CHECKPOINT)
        return scorer


def use_zip(session: Session, archive: str | Path) -> Scorer:
    """The checkpoint in the uploaded zip is the visitor's own model now."""
    with shown_errors():
        session.check_room()
        load = partial(tasks.load_uploaded_checkpoint, archive, session.folder, shown_as=MY_UPLOAD)
        return session.bring_scorer(load)


def use_hub(session: Session, name: str, *, token: str | Literal[False] = False) -> Scorer:
    """The checkpoint `name` on the Hub, public or such that `token` may read it, is the visitor's own model now."""
    with shown_errors():
        session.check_room()
        folder = Path(tempfile.mkdtemp(prefix="hub-", dir=session.folder))
        try:
            checkpoint = tasks.fetch_public_checkpoint(name.strip(), folder, token=token)
            load = partial(tasks.load_scorer, str(checkpoint), shown_as=name.strip(), is_brought=True)
            return session.bring_scorer(load, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
