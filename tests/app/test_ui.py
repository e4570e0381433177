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

from vjepa_demo.app import html as render
from vjepa_demo.app import score_tab
from vjepa_demo.app.events import shown_errors
from vjepa_demo.config import DIMENSION_MEANINGS, DIMENSIONS
from vjepa_demo.schema import OVERALL_MEANS_LESS, ModelError, RecordError, TrainedOn, VideoError


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
    assert known.unknown_words == ()
    assert "<mark" not in render.heading(known)
    assert "not meaningful" not in render.score_table(known)
    assert strange.unknown_words == ("b", "zebra")
    assert '“A red &lt;<mark title="demo does not know this word">b</mark>&gt;<mark' in render.heading(strange)
    assert render.score_table(strange).count("not meaningful") == 1
    assert "the prompt moves it too" not in render.score_table(known)
    assert f"{DIMENSION_MEANINGS['Overall']}; the prompt moves it too" in render.score_table(strange)
    assert f"its Alignment means nothing here, and its {OVERALL_MEANS_LESS}." in render.heading(strange)
    assert OVERALL_MEANS_LESS not in render.heading(known)
    assert strange.to_dict()["unknown_words"] == ["b", "zebra"]


def test_a_text_encoder_that_knows_english_knows_every_word():
    assert replace(RESULT, prompt="qwzx").unknown_words == ()


def test_the_strip_shows_what_else_the_model_looked_at():
    dense = np.zeros((3, 8, 8, 3), np.uint8)
    looked = replace(RESULT, views=("the whole picture", "3 frames in a row"), more_frames=(dense,))
    strip = render.frame_strip(looked)
    assert "What the model saw of it: the whole picture →</p>" in strip
    folded = strip.partition("<details")[2]
    assert "<summary>3 frames in a row</summary>" in folded
    assert (strip.count("<figure>"), folded.count("<figure>")) == (5, 3)
    assert "2 frames of 1.5 s seen, and 1 other view." in render.about_scores(looked)


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
    heading = render.heading(RESULT)
    assert "<b>my clip.mp4</b> · “a &lt;b&gt;cat&lt;/b&gt;”" in heading
    assert "Scored by <b>demo</b>." in heading
    assert "/server" not in heading
    assert "not from people: compare versions of one clip" in heading
    people = replace(RESULT, trained_on=TrainedOn("human", 4000, "TaobaoVD-GC"))
    assert "not from people" not in render.heading(people)


def test_a_score_is_shown_with_what_its_model_learned_from():
    about = render.about_scores(RESULT)
    assert "2 frames of 1.5 s seen." in about
    assert "The head of demo learned from 6,000 procedural clips: moving shapes." in about
    assert "On 400 clips it had not seen" in about
    assert "rank alike by SROCC Temporal 0.71." in about


def test_a_video_of_one_frame_is_said_to_tell_nothing_of_time():
    still = replace(RESULT, frame_seconds=(0.0, 0.0))
    assert "a single frame: Temporal says nothing" in render.heading(still)
    assert "1 frame of 1.5 s seen." in render.about_scores(still)
    assert "single frame" not in render.heading(RESULT)


def test_what_a_person_typed_is_escaped():
    assert "<script" not in render.heading(replace(RESULT, video="<script>.mp4", prompt="<script>"))


def test_a_remembered_video_is_said_to_be():
    remembered = replace(RESULT, seconds={"decode": 0.0, "video": 0.0, "text": 0.01, "head": 0.0})
    assert "video remembered" in render.times(remembered)
    assert "video remembered" not in render.times(RESULT)


@pytest.mark.parametrize(
    ("video", "prompt", "model", "missing"),
    [
        (None, "", "demo", "Add a video and type its prompt."),
        (None, "a cat", "demo", "Add a video."),
        ("clip.mp4", "  ", "demo", "Type the prompt that the video was made from."),
        ("clip.mp4", "a cat", "demo", None),
    ],
)
def test_the_button_says_what_is_missing(video, prompt, model, missing):
    button, hint = score_tab._readiness(video, prompt, model, running=False)
    assert button.interactive == (missing is None)
    assert (missing or "<p></p>") in hint.value


def test_the_button_stays_off_while_it_runs():
    assert not score_tab._readiness("clip.mp4", "a cat", "demo", running=True)[0].interactive


def test_a_format_that_browsers_do_not_play_can_be_scored_and_the_hint_says_so():
    button, hint = score_tab._readiness("clip.avi", "a cat", "demo", running=False)
    assert button.interactive
    assert "can be scored all the same" in hint.value


def test_a_model_without_a_head_cannot_be_pressed(tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    button, hint = score_tab._readiness("clip.mp4", "a cat", "vitg", running=False)
    assert not button.interactive
    assert "no trained head exists" in hint.value


@pytest.mark.parametrize("error", [VideoError, RecordError, ModelError])
def test_what_a_person_can_mend_becomes_a_message(error):
    with pytest.raises(gr.Error) as raised, shown_errors():
        score_tab._score(lambda _: FakeScorer(error("<b>x</b>.mp4 is empty")), "clip.mp4", "a cat", "demo")
    assert raised.value.message == "&lt;b&gt;x&lt;/b&gt;.mp4 is empty"


def test_a_bug_is_not_dressed_up_as_a_message():
    with pytest.raises(ZeroDivisionError):
        score_tab._score(lambda _: FakeScorer(ZeroDivisionError()), "clip.mp4", "a cat", "demo")


def test_progress_is_told_step_by_step():
    told = []
    score_tab._score(
        lambda _: FakeScorer(), "clip.mp4", "a cat", "demo", lambda share, desc: told.append((share, desc))
    )
    assert [desc for _, desc in told] == [
        "Loading demo",
        "Decoding the frames",
        "Encoding the video",
        "Encoding the prompt",
        "Scoring",
    ]
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_the_server_keeps_its_paths_to_itself():
    assert score_tab._score(lambda _: FakeScorer(), "/tmp/gradio/ab/clip.mp4", "a cat", "demo").video == "clip.mp4"


def test_every_example_is_there_with_a_prompt():
    rows = score_tab.example_rows()
    assert len(rows) >= 3
    for path, prompt, shows in rows:
        assert shows
        assert Path(path).read_bytes()[4:8] == b"ftyp"
        assert prompt.strip()


def test_the_page_is_served_on_a_machine_too_busy_to_answer_within_gradios_time_limit(monkeypatch):
    monkeypatch.setattr("gradio.networking.url_ok", lambda _: False)
    with page_of(lambda _: FakeScorer()) as address:
        assert httpx.get(address).is_success
