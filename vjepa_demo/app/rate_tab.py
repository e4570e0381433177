"""The Rate tab: clips in, rated one by one by keyboard, a model that learns meanwhile, labels and the model out.

What a rater sees and presses is rate.js with the functions of rate_calls.py. This file has what its owner does: make a
study, see how well the raters and the model agree, use the model, take the labels along. A study outlives the session:
the owner's browser keeps its key, and a reload shows it again.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app import html as render
from vjepa_demo.app import rate_html as fragments
from vjepa_demo.app.charts import agreement_curves
from vjepa_demo.app.checkpoint_panel import add_push, add_push_checkpoint, add_use
from vjepa_demo.app.data_inputs import add_prompts, add_video_files
from vjepa_demo.app.events import AT_ONCE, PROGRESS, TOLD, Values, keep_in_step, shown_errors
from vjepa_demo.app.learners import learner_of, read_clips
from vjepa_demo.app.model_choice import default_now, refusal
from vjepa_demo.app.rate_calls import RATER_CALLS
from vjepa_demo.app.session import Session
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.schema import BatchTable, RecordError
from vjepa_demo.schema.learning import MIN_RATED_CLIPS
from vjepa_demo.schema.rating import StudyKind, StudyOrder, rater_key
from vjepa_demo.wording import left_out_notes, progress_line

if TYPE_CHECKING:
    from vjepa_demo.tasks import OpenStudy, StudyLearner

JS = "".join(Path(__file__).with_name(name).read_text("utf-8") for name in ("together.js", "rate.js"))
# The key of the study that this browser owns, of the page's link or the last one; "" where it owns none.
OWNED = """() => {
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem("vjepa-demo-studies")) ?? {}; } catch {}
  const study = new URLSearchParams(location.search).get("study") ?? kept.current;
  const owner = kept[study]?.owner;
  return owner ? JSON.stringify({ study, owner }) : "";
}"""
FORGET = """() => {
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem("vjepa-demo-studies")) ?? {}; } catch {}
  delete kept.current;
  try { localStorage.setItem("vjepa-demo-studies", JSON.stringify(kept)); } catch {}
  const address = new URL(location);
  address.searchParams.delete("study");
  history.replaceState(null, "", address);
}"""
ASKED: list[tuple[str, str]] = [
    ("Five scores for each clip", "five"),
    ("Overall alone: one key a clip", "overall"),
    ("A/B: which of two clips is better, in each dimension", "pairs"),
    ("A/B: which is better overall", "pairs-overall"),
]
ORDERS: list[tuple[str, StudyOrder]] = [
    ("the clip that teaches most: for your own model", "chosen"),
    ("random for each rater: for scores to publish", "random"),
]
LEARN_EVERY = 5  # answers, as rate.js has it
OWNER_NAME = "owner"  # of a rater who gave none
STUDYING: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "studies", "api_visibility": "private"}
READING: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "reading", "api_visibility": "private"}
LEARNING: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "learning", "api_visibility": "private"}
NEWS_SECONDS = 20  # after which the owner's page asks whether others have answered
SEEN_BY_READERS = "Whoever may read it sees the clips, the prompts, the answers and the names of the raters."
HINT = "Add clips, and a table or the prompt that all were made from."


class RateTab:
    """The components of the tab, and what its events do. A handler returns new values of what it changes."""

    def __init__(
        self, session: gr.State, default_model: str, model: gr.Dropdown, tabs: gr.Tabs, app: gr.Blocks
    ) -> None:
        """Fill the current tab, one of `tabs` with the id "rate"; `model` is the Score tab's choice."""
        self.session, self._tabs = session, tabs
        # A model without a trained head has nothing that ratings could be added to.
        self._fallback = "demo" if refusal(default_model) else default_model
        self.key = gr.Textbox(visible="hidden", elem_id="rate-key")  # JSON: the study that is owned, and its secret
        self._add_setup()
        self.stage = gr.HTML(
            fragments.stage(),
            js_on_load=JS,
            server_functions=RATER_CALLS,
            apply_default_css=False,
            elem_id="rate-stage",
        )
        self._add_panel()
        self._wire_setup(app)
        self._wire_owner(model)

    def _add_setup(self) -> None:
        """What a study is made of."""
        with gr.Row(equal_height=False, elem_id="rate-setup") as self.setup:
            with gr.Column(scale=2, min_width=320):
                self.videos = add_video_files("rate-videos")
                self.table, self.prompt = add_prompts("rate")
                self.asked = gr.Radio(ASKED, value="five", label="What to judge", elem_id="rate-asked")
                with gr.Accordion("Settings", open=False):
                    self.order = gr.Radio(ORDERS, value="chosen", label="Which clip is next", elem_id="rate-order")
                    self.title = gr.Textbox(label="Title, for raters", max_length=200, elem_id="rate-title")
                    self.name = gr.Textbox(
                        label="Your name as a rater", placeholder=OWNER_NAME, max_length=60, elem_id="rate-name"
                    )
                with gr.Row():
                    self.start = gr.Button("Start rating", variant="primary", interactive=False, elem_id="rate-start")
                    self.batch = gr.Button("Rate what is in Batch", elem_id="rate-batch")
                self.hint = gr.HTML(render.hint(HINT), elem_id="rate-hint")
            with gr.Column(scale=3, min_width=320):
                gr.HTML(fragments.HOW_TO)

    def _add_panel(self) -> None:
        """What its owner sees of a study."""
        self.news = gr.Timer(NEWS_SECONDS, active=False)
        with gr.Column(visible=False, elem_id="rate-owner") as self.owner, gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320) as self.learning:
                self.reading = gr.HTML(elem_id="rate-reading")
                self.agreement = gr.HTML(elem_id="rate-agreement")
                self.curve = gr.Plot(visible=False, container=False, elem_id="rate-curve")
                with gr.Row():
                    self.learn = gr.Button("Learn again", interactive=False, elem_id="rate-learn")
                    self.use = gr.Button("Use it in Score", variant="primary", interactive=False, elem_id="rate-use")
                with gr.Column(visible=False, elem_id="rate-model") as self.made:
                    self.download = gr.DownloadButton("Download the model", size="sm", elem_id="rate-download")
                    self.pushed = add_push_checkpoint(self.session, "rate-push")
            with gr.Column(scale=2, min_width=320):
                self.link = gr.HTML(elem_id="rate-link")
                self.left_out = gr.HTML(elem_id="rate-left-out")
                self.statistics = gr.HTML(elem_id="rate-statistics")
                self.to_finetune = gr.Button("Take them to Fine-tune", size="sm", elem_id="rate-to-finetune")
                with gr.Row():
                    self.tables = gr.Button("Ratings as tables", size="sm", elem_id="rate-tables")
                    self.data_set = gr.Button("Ratings and clips", size="sm", elem_id="rate-data-set")
                self.exported = gr.File(label="Ratings", visible=False, interactive=False, elem_id="rate-exported")
                self.published = add_push(
                    self.push,
                    {self.session, self.key},
                    elem_id="rate-publish",
                    title="Push to the Hub as a data set",
                    note=SEEN_BY_READERS,
                )
                with gr.Row():
                    self.end = gr.Button("End the study", size="sm", elem_id="rate-end")
                    self.delete = gr.Button("Delete it", size="sm", variant="stop", elem_id="rate-delete")
                    self.new = gr.Button("New study", size="sm", elem_id="rate-new")
        self._panel = [
            self.owner,
            self.setup,
            self.learning,
            self.link,
            self.statistics,
            self.end,
            self.agreement,
            self.curve,
            self.exported,
            self.published,
            self.news,
        ]

    # ---- a new study -------------------------------------------------------------------------------------------------

    def _wire_setup(self, app: gr.Blocks) -> None:
        session = self.session
        fields = {session, self.videos, self.table, self.prompt}
        changes = [self.videos.change, self.table.change, self.prompt.change]
        keep_in_step(changes, self.readiness, fields, [self.start, self.hint])
        settings: set[Any] = {*fields, self.asked, self.order, self.title, self.name}
        shown = [self.stage, self.key, self.hint, self.left_out]
        look: dict[str, Any] = {"show_progress_on": self.hint, **STUDYING}
        self.start.click(self.make, settings, shown, **look)
        self.batch.click(self.make_of_batch, settings, shown, **look)
        # What this browser owns is shown again after a reload.
        opened = app.load(None, js=OWNED, outputs=self.key, api_visibility="private")
        for event in (opened.then, self.key.change):
            event(self.open, {self.session, self.key}, self._panel, **AT_ONCE)
        app.load(self.to_front, outputs=self._tabs, **AT_ONCE)

    def to_front(self, request: gr.Request) -> gr.Tabs | dict[str, Any]:
        """Who comes by the link of a study comes to rate."""
        return gr.Tabs(selected="rate") if "study" in request.query_params else gr.skip()

    def readiness(self, values: Values) -> Values:
        """Whether a study can be made of what was added, and what is missing."""
        words = bool(values[self.table] or (values[self.prompt] or "").strip())
        missing = HINT if not (values[self.videos] or words) else "" if words else "Add a table, or type the prompt."
        if words and not values[self.videos]:
            missing = "Add the videos."
        return {self.start: gr.Button(interactive=not missing), self.hint: render.hint(missing)}

    def make(self, values: Values, progress: gr.Progress = PROGRESS) -> Values:
        """A study of what was added, with its owner as the first rater."""
        with tempfile.TemporaryDirectory() as unpacked, shown_errors():
            return self._made(values, self._table(values, Path(unpacked)), progress)

    def make_of_batch(self, values: Values, progress: gr.Progress = PROGRESS) -> Values:
        """A study of the clips in the Batch tab."""
        batches = values[self.session].batch
        table = batches.staged.table or (batches.last and batches.last.table)
        with shown_errors():
            if table is None:
                raise RecordError("nothing is in the Batch tab: add videos there, or here")
            return self._made(values, table, progress)

    def _table(self, values: Values, unpacked: Path) -> BatchTable:
        """The clips that were added, those of zips unpacked into the folder `unpacked`."""
        paths = []
        skipped: list[str] = []
        for number, path in enumerate(map(Path, values[self.videos] or [])):
            if path.suffix.lower() == ".zip":
                folder = unpacked / str(number) / path.stem
                skipped += tasks.extract_videos(path, folder, wanted=None).skipped
                path = folder
            paths.append(path)
        if not paths:
            raise RecordError("the videos are missing: add them")
        prompt = (values[self.prompt] or "").strip()
        for note in left_out_notes(skipped):
            gr.Info(escape(note))
        if values[self.table]:
            return tasks.read_batch(values[self.table], paths, prompt=prompt or None)
        return tasks.batch_of_files(paths, prompt)

    def _made(self, values: Values, table: BatchTable, progress: gr.Progress) -> Values:
        visitor: Session = values[self.session]
        asked, name = values[self.asked] or "five", (values[self.name] or "").strip() or OWNER_NAME
        rater_key(name)  # a name that cannot be used is refused before anything is copied
        kind: StudyKind = "pairs" if asked.startswith("pairs") else "clips"
        reports = tasks.keep_study(
            table,
            title=values[self.title] or "",
            kind=kind,
            dimensions=("Overall",) if asked.endswith("overall") else DIMENSIONS,
            order=values[self.order] or "chosen",
        )
        with closing(reports):
            for report in reports:
                visitor.check_open()
                if not isinstance(report, tuple):
                    progress((report.done, report.total), desc=progress_line(report))
                    continue
                made, owner = report
                study = made.study.id
                rater = tasks.owned_study(study, owner).join(name)
                return {
                    self.stage: fragments.stage(study, name=rater.name, secret=rater.secret, owner=owner),
                    self.key: json.dumps({"study": study, "owner": owner}),
                    self.hint: "",
                    self.left_out: fragments.left_out(made.notes),
                }
        raise AssertionError("a study is made or refused")

    # ---- of the owner ------------------------------------------------------------------------------------------------

    def _wire_owner(self, model: gr.Dropdown) -> None:
        mine: set[Any] = {self.session, self.key}
        look: dict[str, Any] = {"show_progress": "hidden"}
        read = self.key.change(
            self.encode, mine, [self.reading, self.learn], trigger_mode="multiple", **look, **READING
        )
        self.told = gr.State(0)  # how many answers what is shown is of
        told = [self.agreement, self.curve, self.statistics, self.use, self.told]
        for event in (self.stage.judged, read.success, self.learn.click):
            event(self.show_learned, mine, told, trigger_mode="always_last", **look, **LEARNING)
        self.news.tick(self.show_news, {*mine, self.told}, told, **look, **LEARNING)
        used = self.use.click(self.save, mine, [self.made, self.download, self.pushed], **LEARNING)
        add_use(self.session, used.success, model, self._tabs)
        for button, videos in ((self.tables, False), (self.data_set, True)):
            button.click(
                lambda values, videos=videos: self.export(values, videos=videos), mine, self.exported, **STUDYING
            )
        self.end.click(self.end_or_reopen, mine, [self.stage, self.link, self.end], **TOLD)
        sure = "() => confirm('Delete this study, with its clips and all ratings?') || (() => { throw 'kept'; })()"
        asked = self.delete.click(None, js=sure, api_visibility="private")
        deleted = asked.success(self.delete_study, mine, self.key, **TOLD)
        for event in (deleted.success, self.new.click):
            cleared = event(None, js=FORGET, api_visibility="private")
            cleared.success(
                lambda: ("", fragments.stage(turn=secrets.token_hex(4))), outputs=[self.key, self.stage], **AT_ONCE
            )

    def _study(self, values: Values) -> OpenStudy:
        """The study that the browser has the key of.

        Raises:
            RecordError: if it has none, or the study is gone.
        """
        try:
            key = json.loads(values[self.key] or "")
            return tasks.owned_study(str(key["study"]), str(key["owner"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError("no study is open: make one first") from error

    def open(self, values: Values) -> Values:
        """The owner's panel for the study of the key; the fields for a new one where there is none."""
        try:
            study = self._study(values)
        except RecordError:
            return {
                self.owner: gr.Column(visible=False),
                self.setup: gr.Row(visible=True),
                self.news: gr.Timer(active=False),
            }
        found = study.statistics()
        return {
            self.owner: gr.Column(visible=True),
            self.setup: gr.Row(visible=False),
            self.link: fragments.link(study.study, json.loads(values[self.key])["owner"], ended=found.ended),
            self.statistics: fragments.statistics(found),
            self.end: gr.Button("Reopen the study" if found.ended else "End the study"),
            self.learning: gr.Column(visible=study.study.kind == "clips"),
            self.agreement: fragments.agreement((), len(study.rated_clips())),
            self.curve: gr.Plot(visible=False),
            self.exported: gr.File(None, visible=False),
            self.published: "",
            self.news: gr.Timer(active=True),
        }

    def encode(self, values: Values) -> Iterator[Values]:
        """Read the clips, so that the model can learn from them; scoring has its turns in between."""
        visitor: Session = values[self.session]
        if not values[self.key]:
            yield {self.reading: ""}
            return
        with shown_errors():
            study = self._study(values)
            if study.study.kind == "pairs":  # which the Fine-tune tab learns from
                yield {self.reading: ""}
                return
            yield {self.reading: render.status("Loading the model that learns", None, None)}
            problems: tuple[Any, ...] = ()
            with closing(read_clips(study, default_now(self._fallback))) as reports:
                for report in reports:
                    visitor.check_open()
                    problems = report.problems
                    share = report.done / report.total
                    yield {self.reading: render.status(progress_line(report), share, report.seconds_left)}
            left_out = "".join(f"<p>{escape(problem.message)}</p>" for problem in problems)
            yield {self.reading: left_out, self.learn: gr.Button(interactive=True)}

    def show_news(self, values: Values) -> Values:
        """What other raters answered since; nothing where there is little new."""
        try:
            num_answers = self._study(values).statistics().num_answers
        except RecordError:  # it was deleted
            return {self.use: gr.skip()}
        if num_answers < values[self.told] + LEARN_EVERY:
            return {self.use: gr.skip()}
        return self.show_learned(values)

    def show_learned(self, values: Values) -> Values:
        """How well the model agrees by now, and what the raters say."""
        visitor: Session = values[self.session]
        if not values[self.key]:
            return {self.use: gr.Button(interactive=False)}
        with shown_errors():
            study = self._study(values)
            found = study.statistics()
            shown: Values = {self.statistics: fragments.statistics(found), self.told: found.num_answers}
            if study.study.kind == "pairs":
                return shown
            num_rated = len(study.rated_clips())
            points = self._learner(study, visitor).curve() if num_rated >= MIN_RATED_CLIPS else ()
            curve = gr.Plot(agreement_curves(points), visible=True) if points else gr.Plot(visible=False)
            return shown | {
                self.agreement: fragments.agreement(points, num_rated),
                self.curve: curve,
                self.use: gr.Button(interactive=bool(points)),
            }

    def _learner(self, study: OpenStudy, visitor: Session) -> StudyLearner:
        """What learns from `study`, which has read all clips; after a restart of the server that is done here."""
        with closing(read_clips(study, default_now(self._fallback))) as reports:
            for _ in reports:
                visitor.check_open()
        return learner_of(study, default_now(self._fallback))

    def save(self, values: Values) -> Values:
        """What all ratings teach becomes the visitor's own model."""
        visitor: Session = values[self.session]
        with shown_errors(), visitor.deleted_if_closed(), visitor.training.run.claimed():
            try:
                folder = visitor.new_run()
                self._learner(self._study(values), visitor).save(folder)
                archive = visitor.end_run(folder)
                tasks.zip_checkpoint(folder, archive)
            finally:
                visitor.training.run.release()
        return {
            self.made: gr.Column(visible=True),
            self.download: gr.DownloadButton(value=str(archive)),
            self.pushed: "",
        }

    def export(self, values: Values, *, videos: bool) -> gr.File:
        """The tables, and with `videos` the clips too, as one zip."""
        visitor: Session = values[self.session]
        with shown_errors(), visitor.deleted_if_closed():
            archive = visitor.download_path("ratings.zip")
            self._study(values).export_zip(archive, videos=videos)
        return gr.File(str(archive), visible=True)

    def push(self, values: Values, repo_id: str, *, private: bool, token: str, progress: gr.Progress) -> str:
        """The tables and the clips become a data set on the Hub; returns the address of its page."""
        visitor: Session = values[self.session]
        progress(0.0, desc="Copying the clips")
        with closing(tasks.push_study(self._study(values), repo_id, private=private, token=token)) as reports:
            for report in reports:
                visitor.check_open()
                if isinstance(report, str):
                    return report
                progress((report.done, report.total), desc=progress_line(report))
        raise AssertionError("a push has an address or fails")

    def hand_over(self, values: Values) -> tuple[str, list[str], str, gr.Tabs]:
        """The labels or pairs, their videos and who gave them, for the Fine-tune tab, which comes to the front."""
        visitor: Session = values[self.session]
        with shown_errors(), visitor.deleted_if_closed():
            folder = visitor.download_path("ratings")
            table, *_ = self._study(values).export(folder, videos=True)
            videos = [str(path) for path in sorted(folder.rglob("*")) if path.parent != folder and path.is_file()]
        return str(table), videos, "human", gr.Tabs(selected="finetune")

    def end_or_reopen(self, values: Values) -> Values:
        """No more answers, or answers again."""
        with shown_errors():
            study = self._study(values)
            ended = not study.ended
            study.end(ended=ended)
        return {
            self.stage: fragments.stage(study.study.id, turn="ended" if ended else "reopened"),
            self.link: fragments.link(study.study, json.loads(values[self.key])["owner"], ended=ended),
            self.end: gr.Button("Reopen the study" if ended else "End the study"),
        }

    def delete_study(self, values: Values) -> str:
        """The study is gone, with its clips and ratings."""
        with shown_errors():
            tasks.delete_study(self._study(values))
        return ""
