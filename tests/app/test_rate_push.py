"""The owner of a study pushes it to the Hub from the Rate tab: the handler, without a browser."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest
import torch
from small_models import FRAMES

from vjepa_demo import tasks
from vjepa_demo.app.rate_tab import RateTab
from vjepa_demo.media.video import write_video

Push = Callable[..., tuple[str, str]]


@pytest.fixture
def told() -> list[str]:
    """What the page says while the push runs."""
    return []


@pytest.fixture
def key(tmp_path, monkeypatch) -> str:
    """What the owner's browser keeps of a study of two rated clips."""
    monkeypatch.setenv("VJEPA_DEMO_STUDIES", str(tmp_path / "studies"))
    for number in range(2):
        frames = torch.full((FRAMES, 3, 40, 40), 100 * number, dtype=torch.uint8)
        write_video(tmp_path / f"{number}.mp4", frames, frames_per_second=8)
    table = tasks.batch_of_files([tmp_path / "0.mp4", tmp_path / "1.mp4"], "a wall")
    *_, (made, owner) = tasks.keep_study(table, dimensions=("Overall",))
    study = tasks.owned_study(made.study.id, owner)
    rater = study.join("Ann")
    while items := study.upcoming(rater, count=1):
        study.rate(rater, items[0].token, {"Overall": 3})
    return json.dumps({"study": made.study.id, "owner": owner})


@pytest.fixture
def push(session, key, told) -> Push:
    """Presses Push with these fields; returns what the page says, and the field for the token as it is then."""
    with gr.Blocks(analytics_enabled=False) as app:
        state, model = gr.State(), gr.Dropdown()
        with gr.Tabs() as tabs, gr.Tab("Rate", id="rate"):
            tab = RateTab(state, "demo", model, tabs, app)
    names = {event: {field.elem_id: field for field in event.inputs} for event in app.fns.values()}
    ((event, fields),) = ((event, fields) for event, fields in names.items() if "rate-publish-token" in fields)

    def push(repo_id: str, typed: str, *, private: bool = True, **settings: Any) -> tuple[str, str]:
        values = {
            state: session,
            tab.key: settings.pop("key", key),
            fields["rate-publish-repo"]: repo_id,
            fields["rate-publish-private"]: private,
            fields["rate-publish-token"]: typed,
        }
        shown = event.fn(values, progress=lambda _, desc: told.append(desc), **settings)
        return shown[tab.published], shown[fields["rate-publish-token"]]

    return push


def test_a_push_is_the_owners_own_and_the_token_is_forgotten(hub, session, push, told, caplog):
    caplog.set_level(logging.DEBUG)
    answer, field = push(" you/walls ", " hf_you ")
    repo = hub.repos["datasets/you/walls"]
    assert (repo.private, repo.readers, field) == (True, {"you"}, "")
    assert {"labels.csv", "ratings.csv", "videos/0.mp4", "videos/1.mp4"} <= repo.files.keys()
    assert f'href="{hub.url}/datasets/you/walls"' in answer
    assert told == ["Copying the clips", "Uploaded 6 of 6 files"]
    assert "hf_you" not in answer + caplog.text + repr(vars(session))


def test_who_signed_in_needs_no_token_and_nobody_pushes_as_the_machine(hub, push, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    with pytest.raises(gr.Error, match="the token is missing: paste one with write access"):
        push("me/walls", " ")
    assert hub.requests == []
    push(
        "you/walls", "", private=False, signed_in=gr.OAuthToken(token="hf_you", scope="contribute-repos", expires_at=0)
    )
    assert not hub.repos["datasets/you/walls"].private


@pytest.mark.parametrize(
    ("repo_id", "token", "message"),
    [
        ("walls", "hf_you", "owner/name was expected, such as me/my-ratings"),
        ("you/walls", "hf_secret", "does not know this account"),
    ],
)
def test_a_push_that_fails_says_why_and_not_the_token(hub, push, repo_id, token, message):
    with pytest.raises(gr.Error, match=message) as caught:
        push(repo_id, token)
    assert "secret" not in caught.value.message
    assert not hub.repos


def test_only_the_owner_pushes_and_only_while_there(hub, session, push, key):
    for wrong, message in (("", "no study is open"), (json.dumps({**json.loads(key), "owner": "x"}), "only who made")):
        with pytest.raises(gr.Error, match=message):
            push("you/walls", "hf_you", key=wrong)
    assert hub.requests == []
    session.close()
    with pytest.raises(gr.Error):
        push("you/walls", "hf_you")
    assert hub.repos["datasets/you/walls"].files.keys() == {".gitattributes"}
