"""Train on rented hardware: whose token is used, what a visitor is shown, and what is left when they leave."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import gradio as gr
import pytest

from vjepa_demo.app.jobs_panel import JobsPanel
from vjepa_demo.app.session import Session
from vjepa_demo.config import JOB_HARDWARE
from vjepa_demo.schema import Hardware, JobReport
from vjepa_demo.tasks import JobOrder
from vjepa_demo.wording import hardware_line, job_line


class Visitor:
    """Somebody at the panel, without a page, who wants to train on a data set of the Hub."""

    def __init__(self, session: Session) -> None:
        with gr.Blocks(analytics_enabled=False) as app:
            self.panel = JobsPanel(gr.State(), app, self.order, set(), gr.Dropdown(), gr.Tabs())
        panel, self.session = self.panel, session
        self.values: dict[Any, Any] = {
            panel.session: session,
            panel.base: "vitl",
            panel.hours: 2,
            panel.hardware: "l4x1",
            panel.checkpoint: " you/scores ",
            panel.token: "",
            panel.kept: "",
        }

    def order(self, values: dict[Any, Any], **chosen: Any) -> JobOrder:
        return JobOrder(data="you/clips", **chosen)

    def begin(self, token: str = "", signed_in: gr.OAuthToken | None = None) -> dict[Any, Any]:
        return self.panel.begin(self.values | {self.panel.token: token}, signed_in, lambda *_, **__: None)


@pytest.fixture
def visitor(session) -> Visitor:
    return Visitor(session)


def signed_in(scope: str, hours: float = 8) -> gr.OAuthToken:
    return gr.OAuthToken(token="hf_you", scope=scope, expires_at=int(time.time() + 3600 * hours))


def test_a_job_is_paid_by_whose_token_it_is_and_the_token_is_kept_from_everybody(hub, visitor, caplog):
    caplog.set_level(logging.DEBUG)
    shown = visitor.begin(" hf_you ")
    [job] = hub.jobs.values()
    assert (job.owner, job.wanted["secrets"]) == ("you", {"HF_TOKEN": "hf_you"})
    assert f'href="{hub.url}/jobs/you/{job.id}"' in shown[visitor.panel.status]
    assert json.loads(shown[visitor.panel.kept]) == {"owner": "you", "id": job.id, "checkpoint": "you/scores"}
    assert shown[visitor.panel.token] == ""
    told = str([getattr(value, "value", value) for value in shown.values()]) + caplog.text
    assert "hf_you" not in told + repr(vars(visitor.session)) + repr(visitor.session.renting)
    with pytest.raises(gr.Error, match="a job of yours runs already"):
        visitor.begin("hf_you")
    follower = visitor.session.renting.follower
    visitor.session.close()
    follower._thread.join(300)
    assert (visitor.session.renting.follower, follower._thread.is_alive(), job.stage) == (None, False, "SCHEDULING")


@pytest.mark.parametrize(
    ("account", "message"),
    [
        (None, "the token is missing: paste one that may write repositories and run jobs"),
        (signed_in("openid profile contribute-repos"), "the token is missing"),
        (signed_in("openid jobs contribute-repos", 1.5), r"your sign-in ends in 1.\d hours, and the job may take 2"),
    ],
)
def test_without_a_token_that_may_run_jobs_nothing_leaves_the_page(hub, visitor, account, message, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_me")  # that of the machine is not the visitor's
    with pytest.raises(gr.Error, match=message):
        visitor.begin(signed_in=account)
    assert hub.requests == []
    visitor.begin(signed_in=signed_in("openid jobs contribute-repos"))  # and a refused start does not block the next
    assert [job.owner for job in hub.jobs.values()] == ["you"]


def test_who_signed_in_finds_the_job_again_after_a_reload_and_others_are_asked_for_the_token(hub, visitor):
    kept = visitor.begin("hf_you")[visitor.panel.kept]
    again = Visitor(Session())
    values = again.values | {again.panel.kept: kept}
    shown = again.panel.found(values)
    assert "give the token again" in shown[again.panel.status]
    assert again.session.renting.follower is None
    again.panel.found(values, signed_in("jobs"))
    assert again.session.renting.follower.job == visitor.session.renting.follower.job
    again.session.close()
    for broken in ("", "no JSON", "[]", json.dumps({"owner": "../x", "id": "1", "checkpoint": "a/b"})):
        shown = again.panel.found(values | {again.panel.kept: broken}, signed_in("jobs"))
        assert again.panel.status not in shown


def test_hardware_has_the_price_of_the_hub_or_none(hub, visitor):
    hub.failing = 503
    assert [name for _, name in visitor.panel.offer(None).choices] == list(JOB_HARDWARE)
    hub.failing = None
    offered = visitor.panel.offer(None)
    assert offered.choices == [("CPU Basic · 30 GB · $0.01/h", "cpu-basic"), ("1x Nvidia L4 · 24 GB · $0.80/h", "l4x1")]
    assert offered.value == "l4x1"
    hub.requests.clear()
    assert visitor.panel.offer("cpu-basic").value == "cpu-basic"
    assert hub.requests == []
    assert hardware_line(Hardware("x", "X", "", 0.5, "job")) == "X · $0.5 a job"


def test_a_job_is_told_in_a_line():
    assert job_line(JobReport("running", seconds=600), "me/x") == "The job runs, 10 min"
    assert job_line(JobReport("done", seconds=60), "me/x") == "Done, 60 s: me/x is on the Hub, private"
