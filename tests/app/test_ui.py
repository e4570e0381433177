"""The page's parts without a browser: what is shown for which scores, and what is escaped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from fakes import RESULT, FakeScorer
from pages import page_of

from vjepa_demo import wording
from vjepa_demo.app import history, scoring
from vjepa_demo.app import html as render
from vjepa_demo.app.about_tab import add_about_tab
from vjepa_demo.app.cli_text import score_lines
from vjepa_demo.app.data_inputs import without_repeats
from vjepa_demo.app.first_head import add_first_head
from vjepa_demo.app.page import build_app
from vjepa_demo.app.score_tab import ScoreTab
from vjepa_demo.app.session import ScoreHistory, Session
from vjepa_demo.config import DIMENSION_MEANINGS, DIMENSIONS
from vjepa_demo.schema import (
    Estimate,
    Evaluation,
    FirstHead,
    ModelError,
    PairAccuracy,
    PairEvaluation,
    RecordError,
    TrainedOn,
    VideoError,
    VideoScores,
)


def test_the_table_has_score_word_and_meaning_of_each_dimension():
    table = render.score_table(RESULT)
    for name in DIMENSIONS:
        assert f'data-dimension="{name}">{RESULT.scores[name]:.2f}<' in table
        assert DIMENSION_MEANINGS[name] in table
    for word in ("Bad", "Poor", "Fair", "Excellent"):
        assert f"<td>{word}</td>" in table


KNOWS = replace(RESULT.trained_on, known_words=("a", "red", "ball"))


def test_words_that_the_model_does_not_know_are_marked_and_alignment_means_nothing():
    known, strange = (replace(RESULT, trained_on=KNOWS, prompt=text) for text in ("A red ball.", "A red <b>Zebra</b>!"))
    strange = replace(strange, neutral_prompt="a video")
    assert known.unknown_words == ()
    assert "<mark" not in render.score_heading(known)
    assert "not meaningful" not in render.score_table(known)
    assert strange.unknown_words == ("b", "zebra")
    assert '“A red &lt;<mark title="demo does not know this word">b</mark>&gt;<mark' in render.score_heading(strange)
    assert render.score_table(strange).count("not meaningful") == 1
    said = "Alignment means nothing here: the model does not know b, zebra. Because of unknown words, all scores but "
    assert f"{said}Alignment use the prompt “a video”.</p>" in render.score_heading(strange)
    assert "all scores but" not in render.score_heading(known)
    assert sum("Because of unknown words" in line for line in score_lines("v.mp4", strange)) == 1
    assert "means" not in render.score_heading(known)
    assert "Alignment 2.25 (not meaningful) · Aesthetic 3.00 ·" in render.in_words(strange)
    assert "(not meaningful)" not in render.in_words(known)
    assert strange.to_dict()["unknown_words"] == ["b", "zebra"]


def test_of_many_unknown_words_the_heading_names_a_few():
    strange = replace(RESULT, trained_on=KNOWS, prompt=" ".join(f"x{number}" for number in range(200)))
    heading = render.score_heading(strange)
    assert "the model does not know x0, x1, x2, x3, x4, x5, x6, x7, x8, x9 and 190 more." in heading
    assert heading.count("<mark") == 200


def test_a_text_encoder_that_knows_english_knows_every_word():
    assert replace(RESULT, prompt="qwzx").unknown_words == ()


def test_the_strip_shows_what_else_the_model_looked_at():
    dense = np.zeros((3, 8, 8, 3), np.uint8)
    looked = replace(RESULT, views=("the whole picture", "3 frames in a row"), more_frames=(dense,))
    strip = render.frame_strip(looked)
    assert "What the model saw: the whole picture →</p>" in strip
    folded = strip.partition("<details")[2]
    assert "<summary>3 frames in a row</summary>" in folded
    assert (strip.count("<figure>"), folded.count("<figure>")) == (5, 3)
    assert "The model saw 2 frames of 1.5 s, and 1 other view." in render.about_scores(looked)


def test_the_panel_on_the_model_tells_data_metrics_and_words():
    trained_on = replace(KNOWS, recipe="One run.", measured={"real clips, <blur>": "0.93"})
    panel = render.about_model("demo", trained_on)
    for text in (
        "6,000 procedural clips",
        "SROCC, Temporal",
        "0.71",
        "One run.",
        "&lt;blur&gt;",
        "0.93",
        "a, red, ball",
    ):
        assert text in panel


def test_the_strip_has_a_picture_and_a_time_for_each_frame():
    strip = render.frame_strip(RESULT)
    assert strip.count("data:image/jpeg;base64,") == 2
    assert "0.25 s</figure>" in strip


def test_scores_are_headed_by_clip_prompt_model_and_caution():
    heading = render.score_heading(RESULT)
    assert "<b>my clip.mp4</b> · “a &lt;b&gt;cat&lt;/b&gt;”" in heading
    assert "Scored by <b>demo</b>." in heading
    assert "/server" not in heading
    assert "not from people: compare versions of one clip" in heading
    people = replace(RESULT, trained_on=TrainedOn("human", 4000, "TaobaoVD-GC"))
    assert "not from people" not in render.score_heading(people)


def test_a_score_is_shown_with_what_its_model_learned_from():
    about = render.about_scores(RESULT)
    assert "The model saw 2 frames of 1.5 s." in about
    assert "The head of demo learned from 6,000 procedural clips: moving shapes." in about
    assert "Rank correlation (SROCC) with the labels of 400 clips it had not seen: Temporal 0.71." in about


STILL = replace(RESULT, frame_seconds=(0.0, 0.0))
SOME_LABELS = replace(RESULT, trained_on=TrainedOn("human", 9, "nine clips", dimensions=DIMENSIONS[:4]))


@pytest.mark.parametrize(
    ("result", "dimension", "reason"),
    [
        (STILL, "Temporal", "the video has a single frame"),
        (SOME_LABELS, "Overall", "the model was trained without labels for it"),
    ],
)
def test_a_dimension_that_the_model_cannot_judge_is_greyed_and_has_no_verdict(result, dimension, reason):
    rows = render.score_table(result).split("<tr class=")[1:]
    (row,) = (each for each in rows if f'data-dimension="{dimension}"' in each)
    assert row.startswith("'doubtful'")
    assert f"not meaningful here: {reason}" in row
    assert row.endswith("<td>–</td></tr>" + "</tbody></table>" * (dimension == "Overall"))
    assert sum(each.startswith("'doubtful'") for each in rows) == 1
    assert f"{dimension} means nothing here: {reason}." in render.score_heading(result)
    assert "means nothing" not in render.score_heading(RESULT)


def test_a_video_of_one_frame_is_said_to_have_one():
    assert "The model saw 1 frame of 1.5 s." in render.about_scores(STILL)


def test_a_doubtful_overall_is_greyed_in_the_history():
    panels = []
    for result in (RESULT, SOME_LABELS):
        remembered = ScoreHistory()
        remembered.remember(history.scored_clip("/tmp/a.mp4", "demo", result))
        panels.append(history.panel(remembered))
    assert ['class="doubtful">5.00' in each for each in panels] == [False, True]
    assert "Overall 5.00 (not meaningful)" in panels[1]


def test_a_model_that_does_not_beat_its_baseline_says_so_and_gives_no_verdicts():
    loses = replace(RESULT.trained_on, vquala_score=-0.4, no_video_baseline=0.2, lead=-0.4, lead_standard_error=0.1)
    result = replace(RESULT, trained_on=loses)
    assert "does not beat the no-video baseline" in render.score_heading(result)
    about = render.about_model("mine", loses)
    assert about.count("does not beat") == 1
    assert "against 0.200" in about
    assert "Do not rely on the scores of this model." in about
    assert render.score_table(result).count("<td>–</td>") == 5
    beats = replace(loses, vquala_score=0.8, lead=0.6)
    assert "does not beat" not in render.score_heading(replace(result, trained_on=beats))
    assert "<td>–</td>" not in render.score_table(replace(result, trained_on=beats))


def test_what_a_person_typed_is_escaped():
    assert "<script" not in render.score_heading(replace(RESULT, video="<script>.mp4", prompt="<script>"))


def test_a_remembered_video_is_said_to_be():
    remembered = replace(RESULT, seconds={"decode": 0.0, "video": 0.0, "text": 0.01, "head": 0.0})
    assert "video remembered" in render.about_scores(remembered)
    assert "video remembered" not in render.about_scores(RESULT)


@pytest.fixture(scope="module")
def tab() -> ScoreTab:
    with gr.Blocks():
        return ScoreTab(lambda _: FakeScorer(), "demo", gr.State())


def readiness(
    tab: ScoreTab,
    video: str | None,
    prompt: str,
    *,
    model: str = "demo",
    running: bool = False,
    visitor: Session | None = None,
):
    """Whether the Score button can be pressed, and the line under it."""
    values = {tab.video: video, tab.prompt: prompt, tab.model: model, tab.running: running}
    values[tab.session] = visitor or Session()
    shown = tab.readiness(values)
    return shown[tab.button].interactive, shown[tab.hint]


@pytest.mark.parametrize(
    ("video", "prompt", "missing"),
    [
        (None, "", "Add a video and type its prompt."),
        (None, "a cat", "Add a video."),
        ("clip.mp4", "  ", "Type the prompt that the video was made from."),
        ("clip.mp4", "a cat", ""),
    ],
)
def test_the_button_says_what_is_missing(tab, video, prompt, missing):
    assert readiness(tab, video, prompt) == (not missing, f"<p>{missing}</p>")


def test_the_button_stays_off_while_it_runs(tab):
    assert readiness(tab, "clip.mp4", "a cat", running=True) == (False, "<p></p>")


def test_a_model_without_a_head_cannot_be_pressed(tab, tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    is_ready, hint = readiness(tab, "clip.mp4", "a cat", model="vitg")
    assert not is_ready
    assert "no trained head exists" in hint


def scored(scorer: FakeScorer, video: str = "clip.mp4", progress=lambda share, desc: None) -> VideoScores:
    with gr.Blocks():
        tab, visitor = ScoreTab(lambda _: scorer, "demo", gr.State()), Session()
    tab.score({tab.session: visitor, tab.video: video, tab.prompt: "a cat", tab.model: "demo"}, progress)
    return visitor.history.shown.result


@pytest.mark.parametrize("error", [VideoError, RecordError, ModelError])
def test_what_a_person_can_mend_becomes_a_message(error):
    with pytest.raises(gr.Error) as raised:
        scored(FakeScorer(error("<b>x</b>.mp4 is empty")))
    assert raised.value.message == "&lt;b&gt;x&lt;/b&gt;.mp4 is empty"


def test_a_bug_is_not_dressed_up_as_a_message():
    with pytest.raises(ZeroDivisionError):
        scored(FakeScorer(ZeroDivisionError()))


def test_progress_is_told_step_by_step():
    told = []
    scored(FakeScorer(), progress=lambda share, desc: told.append((share, desc)))
    assert [desc for _, desc in told] == ["Loading demo", *(what for _, what in scoring.STEPS.values())]
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_the_server_keeps_its_paths_to_itself():
    assert scored(FakeScorer(), "/tmp/gradio/ab/clip.mp4").video == "clip.mp4"


def test_every_button_of_the_page_says_what_it_does():
    """A `gr.Button` that is made to change another, while the page is being built, would be on the page: "Run"."""
    app = build_app(lambda _: FakeScorer())
    shown = [each for each in app.blocks.values() if isinstance(each, gr.Button) and each.visible]
    assert "Run" not in {each.value for each in shown}


class NeverReady:
    """A first head that is being learned for ever."""

    def state(self) -> FirstHead:
        return FirstHead("loading")


def test_what_raises_is_queued_because_gradio_shows_errors_of_queued_events_only():
    with gr.Blocks() as app:
        add_first_head(app, NeverReady())
        with gr.Tabs(), gr.Tab("About") as about:
            add_about_tab(about)
    queued = {event.name: event.queue for event in app.fns.values()}
    assert queued == {"show": False, "stop": True, "look_up": True}


def test_every_example_is_there_with_a_prompt():
    rows = scoring.example_rows()
    assert len(rows) >= 3
    for path, prompt, shows in rows:
        assert shows
        assert Path(path).read_bytes()[4:8] == b"ftyp"
        assert prompt.strip()


def test_the_page_is_served_on_a_machine_too_busy_to_answer_within_gradios_time_limit(monkeypatch):
    monkeypatch.setattr("gradio.networking.url_ok", lambda _: False)
    with page_of(lambda _: FakeScorer()) as address:
        assert httpx.get(address).is_success


def test_the_table_of_metrics_shows_pairs():
    accuracy = PairAccuracy(
        12, 4, Estimate(0.75, 0.1), Estimate(0.5, 0.1), Estimate(0.5), Estimate(0.4), Estimate(0.25, 0.1), 0.2
    )
    pairs = PairEvaluation(12, {"Overall": accuracy}, Estimate(0.25, 0.1), "training pairs")
    evaluation = Evaluation(0, {}, Estimate(None), pairs=pairs)
    shown = render.metrics_table(evaluation, wording.verdict(evaluation))
    assert shown.count("<table") == 1
    assert '<tr data-pairs="Overall"><td>Overall</td><td>12</td><td>4</td><td>0.750 ± 0.100</td><td>0.500</td>' in shown
    assert "On pairs the model beats always guessing the commoner answer" in shown
    assert "+25.0 ± 10.0 percentage points" in shown


def test_a_file_that_is_added_again_counts_once_wherever_it_lies(tmp_path):
    for folder, name, content in (("a", "x", b"1"), ("b", "y", b"1"), ("c", "x", b"1"), ("d", "x", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    first, other_name, again, other_bytes = (str(tmp_path / each) for each in ("a/x", "b/y", "c/x", "d/x"))
    gone = str(tmp_path / "gone")
    files = [first, other_name, again, other_bytes, first, gone, gone]
    assert without_repeats(files) == (first, other_name, other_bytes, gone)
    assert without_repeats(None) == ()
