"""Train on rented hardware: an order for a job on the Hub, how far it is, its log, and its checkpoint in the Score tab.

The page never pays: the job belongs to the account of the token. A token that was typed stays in the memory of
this server until the visitor leaves or follows another job; the browser keeps the number of the job alone. So after a
reload the visitor types the token again to see the job, and who signed in sees it at once.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app.checkpoint_panel import LOADING, PUSHING, can_sign_in, chosen, use_hub
from vjepa_demo.app.events import AT_ONCE, PROGRESS, TOLD, Values, shown_errors
from vjepa_demo.app.session import Session
from vjepa_demo.config import JOB_HARDWARE, JOB_HOURS, JOB_PRICES, MAX_JOB_HOURS, model_presets
from vjepa_demo.schema import CheckpointError, DemoError, Hardware, JobError, JobReport, RentedJob
from vjepa_demo.wording import hardware_line, job_line, progress_line

if TYPE_CHECKING:
    from vjepa_demo.tasks import JobOrder

LISTING: dict[str, Any] = {"concurrency_limit": 2, "show_progress": "hidden", "api_visibility": "private"}
LIST_SECONDS = 3600.0  # after which the Hub is asked for its hardware and prices again
TICK_SECONDS = 3.0
JOBS_SCOPE = "jobs"  # of signing in; a Space has it where its README asks for it (docs/fine-tuning.md)
KEPT = """() => { try { return localStorage.getItem("vjepa-demo-job") ?? ""; } catch { return ""; } }"""
KEEP = """(job) => { try { if (job) localStorage.setItem("vjepa-demo-job", job); } catch {} }"""


class Order(Protocol):
    """The order for a job on what the Fine-tune tab holds. Raises DemoError where that is nothing to train on."""

    def __call__(self, values: Values, *, model: str, checkpoint: str, hardware: str, hours: float) -> JobOrder: ...


class JobsPanel:
    """The fields of the panel, and what its events do."""

    def __init__(
        self, session: gr.State, app: gr.Blocks, order: Order, inputs: set[Any], model: gr.Dropdown, tabs: gr.Tabs
    ) -> None:
        """Fill the current column. `order` reads the `inputs`; `model` and `tabs` are those of the whole page."""
        self.session, self._order = session, order
        self._listed: tuple[float, tuple[Hardware, ...]] = (-LIST_SECONDS, ())
        with gr.Accordion("Train on rented hardware", open=False, elem_id="job") as panel:
            gr.HTML(_about(JOB_PRICES))
            with gr.Row():
                self.base = gr.Dropdown(list(model_presets()), value="vitl", label="Model", elem_id="job-model")
                self.hours = gr.Number(
                    JOB_HOURS, label="At most (hours)", minimum=0.1, maximum=MAX_JOB_HOURS, elem_id="job-hours"
                )
            self.hardware = gr.Dropdown(
                list(JOB_HARDWARE), value=JOB_HARDWARE[0], label="Hardware", elem_id="job-hardware"
            )
            self.checkpoint = gr.Textbox(
                label="Repository of the checkpoint", placeholder="owner/name", max_length=90, elem_id="job-repo"
            )
            self.token = gr.Textbox(
                label="Token, if signing in does not allow jobs" if can_sign_in() else "Token",
                info="It may write repositories and run jobs: huggingface.co/settings/tokens. The job gets it as a "
                "secret; this server forgets it when you leave.",
                type="password",
                max_length=200,
                elem_id="job-token",
            )
            with gr.Row():
                self.start = gr.Button("Start the job", variant="primary", elem_id="job-start")
                self.look = gr.Button("Look at it", visible=False, elem_id="job-look")
                self.cancel = gr.Button("Cancel the job", variant="stop", visible=False, elem_id="job-cancel")
                self.use = gr.Button("Score with it", variant="primary", visible=False, elem_id="job-use")
            self.status = gr.HTML(elem_id="job-status")
        self.kept = gr.Textbox(visible="hidden", elem_id="job-kept")  # JSON: the job that this browser started
        self.timer = gr.Timer(TICK_SECONDS, active=False)

        shown = [self.status, self.start, self.look, self.cancel, self.use, self.timer]
        mine: set[Any] = {session, self.kept, self.token}
        panel.expand(self.offer, self.hardware, self.hardware, **LISTING)
        fields: set[Any] = {*mine, *inputs, self.base, self.hours, self.hardware, self.checkpoint}
        told = [*shown, self.kept, self.token]
        self.start.click(self.begin, fields, told, show_progress_on=self.status, **PUSHING)
        self.kept.change(None, self.kept, js=KEEP, api_visibility="private")
        opened = app.load(None, js=KEPT, outputs=self.kept, api_visibility="private")
        opened.then(self.found, mine, shown, **AT_ONCE)
        self.look.click(self.follow, mine, [*shown, self.token], **TOLD)
        self.timer.tick(lambda values: self._shown(values[session]), {session}, shown, **AT_ONCE)
        self.cancel.click(self.end, {session}, shown, **TOLD)
        self.use.click(
            lambda visitor: chosen(visitor, self.load(visitor))[:2],
            session,
            [model, tabs],
            show_progress_on=self.status,
            **LOADING,
        )

    def offer(self, chosen: str | None) -> gr.Dropdown:
        """The Hub's hardware with its prices, and `chosen` still chosen; names alone where the Hub does not answer."""
        asked, hardware = self._listed
        if time.monotonic() - asked > LIST_SECONDS:
            try:
                hardware = tasks.list_hardware()
                self._listed = (time.monotonic(), hardware)
            except JobError:
                return gr.Dropdown(list(JOB_HARDWARE), value=chosen if chosen in JOB_HARDWARE else JOB_HARDWARE[0])
        choices = [(hardware_line(each), each.name) for each in hardware]
        names = [each.name for each in hardware]
        return gr.Dropdown(choices, value=next((name for name in (chosen, *JOB_HARDWARE) if name in names), None))

    def begin(self, values: Values, signed_in: gr.OAuthToken | None = None, progress: gr.Progress = PROGRESS) -> Values:
        """What the job needs is uploaded, and the job started; from then on it is followed."""
        visitor: Session = values[self.session]
        renting = visitor.renting
        with shown_errors(), renting.starting.claimed():
            if renting.follower is not None and not renting.follower.report().is_settled:
                raise JobError("a job of yours runs already: wait until it has ended, or cancel it")
            hours = float(values[self.hours] or JOB_HOURS)
            token = self._token(values, signed_in, hours)
            order = self._order(
                values,
                model=values[self.base],
                checkpoint=(values[self.checkpoint] or "").strip(),
                hardware=values[self.hardware] or "",
                hours=hours,
            )
            job = self._started(visitor, order, token, progress)
            renting.follow(tasks.JobFollower(job, token=token))
        renting.starting.release()
        if visitor.closed.is_set():
            renting.follow(None)
        kept = json.dumps({"owner": job.owner, "id": job.job_id, "checkpoint": job.checkpoint})
        return {**self._shown(visitor), self.kept: kept, self.token: ""}

    def _started(self, visitor: Session, order: JobOrder, token: str, progress: gr.Progress) -> RentedJob:
        """The job of `order`, once all that it needs is uploaded."""
        progress(0.0, desc="Uploading")
        with closing(tasks.start_job(order, token=token)) as reports:
            for report in reports:
                if isinstance(report, RentedJob):
                    return report
                visitor.check_open()
                progress((report.done, report.total), desc=progress_line(report))
        raise AssertionError("an order ends with its job or fails")

    def found(self, values: Values, signed_in: gr.OAuthToken | None = None) -> Values:
        """After a reload: the job that this browser started, followed at once by who signed in."""
        visitor: Session = values[self.session]
        try:
            job = _kept_job(values[self.kept])
        except JobError:
            return self._shown(visitor)
        if visitor.renting.follower is None and signed_in is not None and _may_run_jobs(signed_in):
            visitor.renting.follow(tasks.JobFollower(job, token=signed_in.token))
        if visitor.renting.follower is not None:
            return self._shown(visitor)
        said = "You started a job from this browser. To see how far it is, give the token again, and look at it."
        return {**self._shown(visitor), self.status: _view(job, said), self.look: gr.Button(visible=True)}

    def follow(self, values: Values, signed_in: gr.OAuthToken | None = None) -> Values:
        """The job that this browser started is followed again."""
        visitor: Session = values[self.session]
        with shown_errors():
            job, token = _kept_job(values[self.kept]), self._token(values, signed_in)
            visitor.renting.follow(tasks.JobFollower(job, token=token))
        return {**self._shown(visitor), self.token: ""}

    def end(self, values: Values) -> Values:
        """The job is ended."""
        visitor: Session = values[self.session]
        with shown_errors():
            if visitor.renting.follower is not None:
                visitor.renting.follower.cancel()
        return self._shown(visitor)

    def load(self, visitor: Session) -> Any:
        """The scorer of the checkpoint that the job pushed: the visitor's own model now."""
        follower = visitor.renting.follower
        with shown_errors():
            if follower is None:
                raise CheckpointError("the job is no longer followed: look at it again")
            return use_hub(visitor, follower.job.checkpoint, token=follower.token)

    def _token(self, values: Values, signed_in: gr.OAuthToken | None, hours: float = 0.0) -> str:
        """What was typed, or that of signing in, if it may run jobs and lasts as long as the job may.

        Raises:
            DemoError: if there is none.
        """
        typed = (values[self.token] or "").strip()
        if typed:
            return typed
        if signed_in is None or not _may_run_jobs(signed_in):
            raise DemoError(
                "the token is missing: paste one that may write repositories and run jobs, from "
                "huggingface.co/settings/tokens"
            )
        left = (signed_in.expires_at - time.time()) / 3600
        if left < hours:
            raise DemoError(
                f"your sign-in ends in {left:.1f} hours, and the job may take {hours:g}: give it fewer hours, sign in "
                "again, or paste a token"
            )
        return signed_in.token

    def _shown(self, visitor: Session) -> Values:
        """The job that is followed, and what can be done about it."""
        follower = visitor.renting.follower
        if follower is None:
            return {self.timer: gr.Timer(active=False)}
        report = follower.report()
        runs = not report.is_settled
        return {
            self.status: _view(follower.job, job_line(report, follower.job.checkpoint), report),
            self.start: gr.Button(visible=not runs),
            self.look: gr.Button(visible=bool(report.problem)),
            self.cancel: gr.Button(visible=runs),
            self.use: gr.Button(visible=report.phase == "done"),
            self.timer: gr.Timer(active=runs),
        }


def _may_run_jobs(signed_in: gr.OAuthToken) -> bool:
    return JOBS_SCOPE in signed_in.scope.split()


def _kept_job(kept: str | None) -> RentedJob:
    """The job that the browser kept.

    Raises:
        JobError: if it kept none.
    """
    try:
        said = json.loads(kept or "{}")
        return tasks.known_job(str(said["owner"]), str(said["id"]), str(said["checkpoint"]))
    except (ValueError, KeyError, TypeError) as error:
        raise JobError("this browser has started no job") from error


# ---- as HTML ---------------------------------------------------------------------------------------------------------


def _about(prices: str) -> str:
    """What happens, and who pays."""
    link = f'<a href="{escape(prices)}" target="_blank" rel="noopener">prices</a>'
    return (
        f"<p>Your Hugging Face account rents a machine on the Hub and pays for it by the minute ({link}). Labels and "
        "videos are uploaded to a private data set of yours; a data set that is on the Hub already is read there. The "
        "checkpoint goes to a private repository of yours. The settings above apply, but for Start from.</p>"
    )


def _view(job: RentedJob, said: str, report: JobReport | None = None) -> str:
    """What is said of a job, a link to its page, and the end of its log."""
    link = f'<a href="{escape(job.url)}" target="_blank" rel="noopener">the job on the Hub</a>'
    shown = f'<div class="train-status"><p>{escape(said)} · {link}</p></div>'
    if report is not None and report.problem:
        shown += f'<p class="note">{escape(report.problem)}</p>'
    if report is not None and report.lines:
        log = escape("\n".join(report.lines))
        shown += f'<div class="job-log" tabindex="0" role="log" aria-label="Log of the job"><pre>{log}</pre></div>'
    return shown
