"""Comparisons: the value, the command, the chart, the board of the Compare tab, and what it exports and opens."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from fakes import RESULT
from small_models import TRAINED_ON

from vjepa_demo.app import compare_html as compare_render
from vjepa_demo.app.charts import comparison_chart
from vjepa_demo.app.cli import main
from vjepa_demo.app.cli_text import comparison_lines
from vjepa_demo.app.compare_board import Board, Clip, board_of
from vjepa_demo.app.compare_tab import CompareTab, read_comparison
from vjepa_demo.app.session import Session
from vjepa_demo.config import ASSETS, DIMENSIONS, MAX_COMPARISON_BYTES, PROJECT_ROOT
from vjepa_demo.model.checkpoint import read_checkpoint
from vjepa_demo.schema import Comparison, LayersReport, RecordError, StoppedError, VideoError
from vjepa_demo.tasks.score import get_scorer

EXAMPLES = ASSETS / "examples"
FILES = [EXAMPLES / f"{name}.mp4" for name in ("clean", "blurred", "unsteady")]


def result(name: str, *scores: float, prompt: str = "a cat"):
    return replace(
        RESULT,
        video=name,
        prompt=prompt,
        scores=dict(zip(DIMENSIONS, scores, strict=True)),
        frames=None,
        sha256=name * 8,
    )


FIRST = result("a.mp4", 1.0, 2.5, 3.0, 4.5, 5.0)
SECOND = result("b.mp4", 1.0001, 2.5, 2.0, 4.75, 4.9949)
THIRD = result("=c.mp4", 5.0, 1.0, 2.9999, 4.5, 1.0, prompt="+1")
COMPARISON = Comparison((FIRST, SECOND))


# ---- the value -------------------------------------------------------------------------------------------------------


def test_differences_are_to_the_first_and_rounded_as_scores_are():
    none, second = COMPARISON.differences
    assert set(none.values()) == {0.0}
    assert second == dict(zip(DIMENSIONS, (0.0001, 0.0, -1.0, 0.25, -0.0051), strict=True))


def test_differences_that_are_shown_are_those_of_the_scores_that_are_shown():
    left, right = result("a.mp4", 3.694, 2.934, 3.0, 3.0, 3.0), result("b.mp4", 2.926, 2.936, 2.996, 3.0, 3.0)
    shown = Comparison((left, right)).shown_differences
    assert set(shown[0].values()) == {0.0}
    assert list(shown[1].values()) == [-0.76, 0.01, 0.0, 0.0, 0.0]  # 3.69 and 2.93, 2.93 and 2.94, 3.00 and 3.00
    assert "-0.0" not in map(str, shown[1].values())


def test_of_scores_that_mean_nothing_none_is_the_best():
    knows = replace(RESULT.trained_on, known_words=("a", "cat"))
    one, other = (replace(each, trained_on=knows) for each in (FIRST, replace(SECOND, prompt="a <i>zebra</i>")))
    doubtful = Comparison((one, other))
    assert doubtful.doubts == {"Alignment": "unknown_words"}
    assert doubtful.best == {**Comparison((FIRST, SECOND)).best, "Alignment": ()}
    saved = doubtful.to_dict()
    assert Comparison.from_dict(saved).doubts == doubtful.doubts
    assert saved["training"]["known_words"] == ("a", "cat")
    many = replace(knows, known_words=("a", "cat", *(f"w{n}" for n in range(100_000))))
    large = Comparison(tuple(replace(each, trained_on=many) for each in (one, other)))
    assert large.to_dict()["training"] == saved["training"]
    board = board_of(doubtful)
    shown = compare_render.table(board, doubtful)
    row = re.search(r'<tr class="doubtful">.*?</tr>', shown).group()
    assert "Alignment" in row
    assert "★" not in row
    assert "&lt;i" in shown
    assert '<mark title="demo does not know this word">zebra</mark>' in shown
    said = "Alignment means nothing here: the model does not know i, zebra."
    assert said in compare_render.comparison_heading(doubtful)


def test_where_only_some_prompts_were_read_no_clip_is_best_overall_and_all_that_is_shown_says_so():
    knows = replace(RESULT.trained_on, known_words=("a", "cat"))
    read, unread = replace(FIRST, trained_on=knows), replace(SECOND, trained_on=knows, prompt="a zebra")
    unread = replace(unread, neutral_prompt="a video")
    unlike = Comparison((read, unread))
    assert unlike.best == {**COMPARISON.best, "Alignment": (), "Overall": ()}
    again = Comparison.from_dict(unlike.to_dict())
    assert [each.neutral_prompt for each in again.results] == ["", "a video"]
    assert again.best == unlike.best
    said = "Because of unknown words, all scores but Alignment of 1 of 2 clips use the prompt “a video”."
    for shown in (compare_render.comparison_heading(unlike), "\n".join(comparison_lines(unlike))):
        assert f"{said} So no clip is best in Overall" in shown
    row = re.search(r'<th scope="row">Overall.*?</tr>', compare_render.table(board_of(unlike), unlike)).group()
    assert "prompts differ" in row
    assert "★" not in row
    rows = csv.DictReader(io.StringIO(compare_render.as_csv(unlike), newline=""))
    assert [each["neutral_prompt"] for each in rows] == ["", "a video"]


def test_where_no_prompt_was_read_overall_has_a_best():
    knows = replace(RESULT.trained_on, known_words=("a", "dog"))
    alike = Comparison(tuple(replace(each, trained_on=knows, neutral_prompt="a video") for each in (FIRST, SECOND)))
    assert alike.best == {**COMPARISON.best, "Alignment": ()}
    heading = compare_render.comparison_heading(alike)
    assert "Because of unknown words, all scores but Alignment use the prompt “a video”.</p>" in heading
    assert "prompts differ" not in compare_render.table(board_of(alike), alike)


def test_a_comparison_of_an_older_version_has_no_neutral_prompt():
    knows = replace(RESULT.trained_on, known_words=("a", "dog"))
    saved = Comparison(tuple(replace(each, trained_on=knows) for each in (FIRST, SECOND))).to_dict()
    for each in saved["results"]:
        del each["neutral_prompt"]
    opened = Comparison.from_dict(saved)
    assert opened.best == {**COMPARISON.best, "Alignment": ()}
    assert "all scores but" not in compare_render.comparison_heading(opened), "those were made with their own prompt"


def test_the_best_of_each_dimension_are_all_that_have_the_highest_score():
    best = Comparison((FIRST, SECOND, THIRD)).best
    assert best == {"Traditional": (2,), "Alignment": (0, 1), "Aesthetic": (0, 2), "Temporal": (1,), "Overall": (0,)}


def test_scores_that_are_shown_as_equal_are_equally_good_in_all_that_is_printed_shown_and_saved():
    one, other = result("a.mp4", *[4.3479] * 5), result("b.mp4", *[4.3521] * 5)
    comparison = Comparison((one, other))
    assert set(comparison.best.values()) == {(0, 1)}
    assert set(map(tuple, comparison.to_dict()["best"].values())) == {(0, 1)}
    scored = board("a", "b").with_outcomes({"a": one, "b": other}, model="demo")
    assert compare_render.table(scored, comparison).count('<span class="value">4.35</span><span class="star"') == 10
    assert "\n".join(comparison_lines(comparison)).count("4.35 *") == 5
    assert "\n".join(comparison_lines(comparison)).count("4.35 (+0.00) *") == 5
    apart = Comparison((one, result("b.mp4", *[4.3551] * 5)))
    assert set(apart.best.values()) == {(1,)}


def test_the_clips_that_the_model_learned_from_are_not_in_the_json():
    trained_on = replace(RESULT.trained_on, digests=("0123456789ab",))
    value = Comparison((replace(FIRST, trained_on=trained_on), SECOND)).to_dict()
    assert "digests" not in value["training"]
    assert "0123456789ab" not in json.dumps(value)


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ((FIRST,), "1 results; 2 to 4"),
        ((FIRST,) * 5, "5 results; 2 to 4"),
        ((FIRST, replace(SECOND, model="vitl")), "different models"),
        ((FIRST, replace(SECOND, trained_on=TRAINED_ON)), "different models"),
    ],
)
def test_what_cannot_be_compared_is_refused(results, problem):
    with pytest.raises(ValueError, match=problem):
        Comparison(results)


def test_what_is_written_as_json_is_read_back_equal():
    comparison = Comparison((FIRST, SECOND, THIRD))
    written = json.dumps(comparison.to_dict())
    assert Comparison.from_dict(json.loads(written)) == comparison
    value = json.loads(written)
    assert (value["format"], value["version"], value["model"]) == ("vjepa-demo comparison", 1, "demo")
    assert value["trained_on"] == str(RESULT.trained_on)
    assert [each["differences"] for each in value["results"]] == list(comparison.differences)
    assert value["best"]["Alignment"] == [0, 1]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["format"], "something else", "no comparison of this program"),
        (["version"], 2, "version 2; 1 can be read"),
        (["training"], None, "damaged"),
        (["training", "num_clips"], "many", "num_clips is 'many'"),
        (["results"], None, "damaged"),
        (["results"], [], "0 results; 2 to 4"),
        (["results", 0], "a.mp4", "damaged"),
        (["results", 1, "video"], 7, "video is 7"),
        (["results", 1, "prompt"], "x" * 2001, "prompt is 'xxx"),
        (["results", 1, "scores", "Overall"], 5.5, "5.5 is no number from 1 to 5"),
        (["results", 1, "scores", "Overall"], float("nan"), "nan is no number from 1 to 5"),
        (["results", 1, "scores", "Overall"], True, "True is no number"),
        (["results", 1, "scores"], {}, "'Traditional' is missing"),
        (["results", 1, "seconds"], {"head": -1}, "-1 is no number from 0"),
        (["results", 1, "duration_seconds"], 10**400, "damaged"),
        (["results", 1, "frame_seconds"], 3, "damaged"),
        (["model"], ["demo"], "model is"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_and_says_why(path, value, problem):
    damaged = json.loads(json.dumps(COMPARISON.to_dict()))
    *parents, last = path
    inner = damaged
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(RecordError, match=problem):
        Comparison.from_dict(damaged)


@pytest.mark.parametrize("value", [None, [], "comparison", 3, {}])
def test_what_is_no_object_of_ours_is_refused(value):
    with pytest.raises(RecordError, match="no comparison of this program"):
        Comparison.from_dict(value)


# ---- scoring ---------------------------------------------------------------------------------------------------------


def test_compare_gives_what_score_gives_and_encodes_nothing_twice():
    scorer = get_scorer("demo", "cpu")
    clips = [(path, prompt) for path, prompt in zip(FILES, ("a ball", "a ball", "a cube"), strict=True)]
    comparison = scorer.compare(clips)
    assert [each.scores for each in comparison.results] == [scorer.score(*clip).scores for clip in clips]
    assert [each.prompt for each in comparison.results] == ["a ball", "a ball", "a cube"]
    assert {each.seconds["video"] for each in scorer.compare(clips).results} == {0.0}
    assert len({each.sha256 for each in comparison.results}) == 3


@pytest.mark.parametrize("count", [0, 1, 5])
def test_fewer_than_two_and_more_than_four_videos_are_refused(count):
    with pytest.raises(RecordError, match=rf"got {count} videos?; 2 to 4"):
        get_scorer("demo", "cpu").compare([(FILES[0], "a ball")] * count)


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        get_scorer("demo", "cpu").compare([(FILES[0], "a ball"), (tmp_path / "text.mp4", "a ball")])


def compare(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main(["compare", *map(str, arguments), "--model", "demo", "--device", "cpu"])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_prints_a_table_with_differences_and_the_best(capsys):
    status, out, _ = compare(capsys, *FILES, "--prompt", "a red ball")
    expected = get_scorer("demo", "cpu").compare([(path, "a red ball") for path in FILES])
    assert status == 0
    for name in DIMENSIONS:
        line = next(line for line in out.splitlines() if line.startswith(name))
        cells = line[len(name) :].replace(" *", "*").replace(" (", "(").split()
        for index, cell in enumerate(cells):
            score = f"{expected.results[index].scores[name]:.2f}"
            difference = f"({expected.shown_differences[index][name]:+.2f})" if index else ""
            assert cell == score + difference + ("*" if index in expected.best[name] else "")
    assert "model demo (CPU" in out
    assert f"trained on {read_checkpoint(ASSETS / 'demo').trained_on}" in out


def test_the_command_prints_json_that_is_a_comparison(capsys):
    _, out, _ = compare(capsys, *FILES[:2], "--prompt", "a red ball", "--prompt", "a cube", "--json")
    comparison = Comparison.from_dict(json.loads(out))
    assert [each.prompt for each in comparison.results] == ["a red ball", "a cube"]
    assert comparison.results[1].scores == get_scorer("demo", "cpu").score(FILES[1], "a cube").scores


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((FILES[0], "--prompt", "x"), "got 1 video; 2 to 4"),
        ((*FILES, *FILES, "--prompt", "x"), "got 6 videos; 2 to 4"),
        ((*FILES, "--prompt", "x", "--prompt", "y"), "got 2 prompts for 3 videos"),
        ((*FILES, "--prompt", " "), "prompt is empty"),
        ((FILES[0], "gone.mp4", "--prompt", "x"), "gone.mp4: no such file"),
    ],
)
def test_a_call_that_cannot_be_compared_says_why(capsys, arguments, problem):
    status, out, err = compare(capsys, *arguments)
    assert (status, out) == (1, "")
    assert problem in err


def test_the_readme_says_how_to_compare(capsys):
    readme = (PROJECT_ROOT / "README.md").read_text("utf-8")
    words = shlex.split(re.search(r"^python -m vjepa_demo compare (.*)$", readme, re.MULTILINE).group(1))
    status, out, _ = compare(capsys, *(PROJECT_ROOT / word if word.endswith(".mp4") else word for word in words))
    assert status == 0
    assert out.count(" *") >= len(DIMENSIONS)


# ---- the chart -------------------------------------------------------------------------------------------------------


def test_radars_lie_over_each_other_and_are_told_apart_without_colour():
    figure = comparison_chart((FIRST, SECOND, THIRD))
    for trace, each in zip(figure.data, (FIRST, SECOND, THIRD), strict=True):
        values = tuple(each.scores.values())
        assert trace.r == (*values, values[0])
    assert [trace.name for trace in figure.data] == ["A · a.mp4", "B · b.mp4", "C · =c.mp4"]
    looks = {(trace.line.dash, trace.marker.symbol) for trace in figure.data}
    assert len(looks) == 3
    assert figure.layout.showlegend
    assert {figure.layout.paper_bgcolor, figure.layout.polar.bgcolor} == {"rgba(0,0,0,0)"}


def test_a_clip_keeps_the_look_of_its_place():
    alone, all_three = comparison_chart((FIRST, THIRD), places=(0, 2)), comparison_chart((FIRST, SECOND, THIRD))
    assert alone.data[1] == all_three.data[2]


def test_names_are_short_and_no_html_in_the_chart():
    name = comparison_chart((replace(FIRST, video="<b>" + "x" * 100 + ".mp4"), SECOND)).data[0].name
    assert len(name) <= 32
    assert "<" not in name
    assert name.endswith(".mp4")


def test_the_title_of_the_picture_follows_the_rule_of_the_names_in_it():
    tagged = replace(FIRST, prompt="a <b>cat</b>", video="<i>.mp4")
    exports = compare_render.exports(Comparison((tagged, replace(SECOND, prompt="a <b>cat</b>"))))
    assert 'data-title="Scored by demo · “a ‹b›cat‹/b›”"' in exports
    assert comparison_chart((tagged, SECOND)).data[0].name == "A · ‹i›.mp4"


# ---- the board -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab() -> CompareTab:
    with gr.Blocks(), gr.Tabs() as tabs, gr.Tab("Compare", id="compare"):
        return CompareTab(lambda _: None, "demo", gr.State(), tabs=tabs)


def values_of(tab: CompareTab, board: Board, *, model: str = "demo", running: bool = False):
    """What the page has where it shows `board`."""
    own = dict(zip(tab.own, board.own, strict=True))
    fields = {tab.clips: board.clips, tab.shared: board.shared, tab.each: board.each}
    return own | fields | {tab.model: model, tab.running: running, tab.session: Session()}


def readiness(tab: CompareTab, board: Board, model: str = "demo", *, running: bool = False) -> tuple[bool, str]:
    """Whether the Compare button can be pressed, and the line under it."""
    shown = tab.readiness(values_of(tab, board, model=model, running=running))
    return shown[tab.button].interactive, shown[tab.hint]


def board(*names: str, **fields) -> Board:
    return Board(tuple(Clip(name, Path(name), key=name) for name in names), **fields)


def names(each: Board) -> list[str]:
    return [clip.name for clip in each.clips]


def test_moved_clips_take_their_prompts_with_them():
    moved = board("a", "b", "c", each=True, own=("1", "2", "3", "")).moved("a", 1)
    assert (names(moved), moved.prompts) == (["b", "a", "c"], ("2", "1", "3"))
    assert names(moved.moved("c", 1)) == ["b", "a", "c"]  # nothing to its right
    assert names(moved.moved("b", -1)) == ["b", "a", "c"]
    assert names(moved.moved("gone", 1)) == ["b", "a", "c"]


def test_clips_to_the_right_of_a_removed_one_move_up_with_their_prompts():
    left = board("a", "b", "c", each=True, own=("1", "2", "3", "")).removed("b")
    assert (names(left), left.prompts) == (["a", "c"], ("1", "3"))
    assert names(left.removed("b")) == ["a", "c"]  # a second click on the same button


def test_the_first_clip_that_is_sent_brings_its_prompt_for_all():
    sent = Board().with_clip(Path("a.mp4"), "a cat")
    assert (sent.shared, sent.each, sent.prompts) == ("a cat", False, ("a cat",))
    same = sent.with_clip(Path("b.mp4"), "a cat")
    assert (same.each, same.prompts) == (False, ("a cat", "a cat"))


def test_a_clip_that_is_sent_with_another_prompt_gives_each_its_own():
    sent = Board().with_clip(Path("a.mp4"), "a cat").with_clip(Path("b.mp4"), "a dog")
    assert (sent.each, sent.prompts) == (True, ("a cat", "a dog"))
    assert sent.with_clip(Path("c.mp4")).prompts == ("a cat", "a dog", "")  # dropped in: not yet typed
    assert sent.with_clip(Path("c.mp4"), "a cat").prompts == ("a cat", "a dog", "a cat")


def test_a_clip_that_comes_without_a_prompt_takes_none_of_another(tab):
    typed = board("a", "b", shared="a cat", each=True, own=("a cat", "a dog", "left over", ""))
    more = typed.with_clip(Path("c.mp4"))
    assert more.prompts == ("a cat", "a dog", "")
    assert "Type the prompt of C." in readiness(tab, more)[1]
    assert replace(typed, each=False).with_clip(Path("c.mp4")).prompts == ("a cat", "a cat", "a cat")


def test_own_prompts_follow_the_one_for_all_until_they_are_typed():
    here = board("a", "b", "c", shared="first").switched(each=True)
    typed = replace(here, own=("first", "its own", "first", "")).switched(each=False)
    assert typed.own == ("", "its own", "", "")
    assert replace(typed, shared="second").switched(each=True).prompts == ("second", "its own", "second")
    opened = replace(board_of(COMPARISON), shared="second").switched(each=True)
    assert opened.prompts == ("second", "second")
    sent = Board().with_clip(Path("a.mp4"), "first").with_clip(Path("b.mp4"), "first")
    assert replace(sent, shared="second").switched(each=True).prompts == ("second", "second")


def test_switching_prompts_fills_in_what_is_missing():
    each = board("a", "b", shared="a cat", own=("", "a dog", "", "")).switched(each=True)
    assert each.prompts == ("a cat", "a dog")
    assert replace(each, shared=" ").switched(each=False).prompts == ("a cat", "a cat")


def test_outcomes_find_their_clips_after_these_were_moved_and_removed():
    before = board("a", "b", "c", shared="a cat")
    outcomes = {"a": FIRST, "b": "b.mp4 is empty", "c": SECOND}
    after = before.moved("a", 1).removed("b").with_outcomes(outcomes, model="demo")
    assert [clip.result for clip in after.clips] == [FIRST, SECOND]
    failed = before.with_outcomes(outcomes, model="demo")
    assert failed.clips[1].error == "b.mp4 is empty"
    assert failed.scored == (0, 2)
    assert failed.comparison == Comparison((FIRST, SECOND))


def test_an_error_takes_the_scores_of_before_away_and_the_next_scores_the_error():
    scored = board("a", "b").with_outcomes({"a": FIRST, "b": SECOND}, model="demo")
    once = scored.with_outcomes({"a": "broken", "b": SECOND}, model="demo")
    assert (once.clips[0].result, once.clips[0].error, once.comparison) == (None, "broken", None)
    again = once.with_outcomes({"a": FIRST}, model="demo")
    assert (again.clips[0].result, again.clips[0].error) == (FIRST, None)


def test_scores_of_another_prompt_or_model_or_of_fewer_clips_are_stale(tab):
    scored = board("a", "b", shared=" a cat ").with_outcomes({"a": FIRST, "b": SECOND}, model="mine")
    assert not scored.is_stale("mine")  # whatever name that model has
    assert replace(scored, shared="a dog").is_stale("mine")
    assert scored.with_clip(Path("c.mp4")).is_stale("mine")
    assert scored.is_stale("demo")
    assert "Press Compare" in readiness(tab, scored)[1]
    assert (board_of(COMPARISON).is_stale("demo"), board_of(COMPARISON).is_stale("vitl")) == (False, True)


def test_an_opened_comparison_waits_for_its_videos_and_knows_them_by_content():
    opened = board_of(Comparison((FIRST, replace(SECOND, prompt="a dog"))))
    assert (names(opened), opened.prompts, opened.each) == (["a.mp4", "b.mp4"], ("a cat", "a dog"), True)
    assert len(opened.absent) == 2
    found = opened.found(Path("renamed.mp4"), SECOND.sha256)
    assert [clip.path for clip in found.clips] == [None, Path("renamed.mp4")]
    assert found.comparison == opened.comparison
    assert found.found(Path("again.mp4"), SECOND.sha256) is None  # that one is here already
    assert opened.found(Path("a.mp4"), "another") is None


# ---- the page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "model", "missing"),
    [
        (Board(), "demo", "Add two to four clips"),
        (board("a", shared="a cat"), "demo", "Add one more clip."),
        (board("a", "b"), "demo", "Type the prompt that the clips were made from."),
        (board("a", "b", each=True, own=("x", " ", "", "")), "demo", "Type the prompt of B."),
        (board("a", "b", "c", each=True), "demo", "Type the prompt of A, B and C."),
        (board_of(COMPARISON), "demo", "drop in a.mp4 and b.mp4"),
        (board("a", "b", shared="a cat"), "vitg", "no trained head"),
        (board("a", "b", shared="a cat"), "demo", ""),
    ],
)
def test_the_button_says_what_is_missing(tab, here, model, missing, tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    is_ready, hint = readiness(tab, here, model)
    assert is_ready == (not missing)
    assert (missing or "<p></p>") in hint
    assert not readiness(tab, here, model, running=True)[0]


def test_the_table_has_each_score_its_difference_and_a_star_at_the_best():
    scored = board("a", "b").with_outcomes({"a": FIRST, "b": SECOND}, model="demo")
    table = compare_render.table(scored, scored.comparison)
    assert table.count("★</span><i>best</i>") == 7  # two share the best Traditional and Alignment
    for text in ("+0.25", "−1.00", "−0.01", "±0.00"):
        assert f'<small class="difference">{text}</small>' in table


def test_a_clip_without_scores_keeps_its_letter_and_is_not_in_the_table():
    scored = board("a", "b", "c").with_outcomes({"a": FIRST, "b": "broken", "c": SECOND}, model="demo")
    table = compare_render.table(scored, scored.comparison)
    assert '<span class="letter">C</span>' in table
    assert '<span class="letter">B</span>' not in table
    assert '<p class="state error" role="alert">broken</p>' in compare_render.stage(scored)


def test_a_card_keeps_its_line_when_the_scores_come():
    here = board("a", "b")
    assert compare_render.stage(here).count('<p class="state">not scored yet</p>') == 2
    scored = compare_render.stage(here.with_outcomes({"a": FIRST, "b": SECOND}, model="demo"))
    assert scored.count('<p class="state"') == 2
    assert ">Overall 5.00</p>" in scored
    assert ">Overall 4.99</p>" in scored


def test_a_clip_that_failed_is_named_and_the_score_of_the_other_stays_in_sight(tab):
    here = board("<bad>.mp4", "b", shared="a cat")
    failed = here.with_outcomes({"<bad>.mp4": "no video", "b": FIRST}, model="demo")
    said = "&lt;bad&gt;.mp4 has no scores: put another clip in its place."
    assert readiness(tab, failed) == (True, f"<p>{said}</p>")
    instead = compare_render.empty(failed)
    assert said in instead
    assert "Overall 5.00" in instead
    assert "Scored by <b>demo</b>." in instead
    assert "means nothing" not in instead
    assert "<ol" not in instead
    assert "<ol" in compare_render.empty(here)
    _, hint = readiness(tab, replace(failed, shared="a dog"))
    assert said in hint
    assert "Press Compare" in hint
    both = here.with_outcomes({"<bad>.mp4": "no video", "b": "none either"}, model="demo")
    assert compare_render.failure(both) == "<bad>.mp4 and b have no scores: put other clips in their places."


KNOWS = replace(RESULT.trained_on, known_words=("a", "dog"))
LOSES = replace(RESULT.trained_on, vquala_score=-0.4, no_video_baseline=0.2, lead=-0.6, lead_standard_error=0.1)
DOUBTS = (
    ({"trained_on": KNOWS}, "Alignment", "the model does not know cat"),
    ({"frame_seconds": (0.0,)}, "Temporal", "the video has a single frame"),
    (
        {"trained_on": replace(RESULT.trained_on, dimensions=DIMENSIONS[:4])},
        "Overall",
        "the model was trained without labels for it",
    ),
)


@pytest.mark.parametrize(("changes", "dimension", "reason"), DOUBTS)
def test_a_score_that_means_nothing_says_so_wherever_it_is_compared(changes, dimension, reason):
    one, other = replace(FIRST, **changes), replace(SECOND, **changes)
    comparison = Comparison((one, other))
    scored = board("a", "b").with_outcomes({"a": one, "b": other}, model="demo")
    (greyed,) = re.findall(r'<tr class="doubtful">.*?</tr>', compare_render.table(scored, comparison))
    assert f'<th scope="row">{dimension}<small>not meaningful</small></th>' in greyed
    assert "★" not in greyed
    sentence = f"{dimension} means nothing here: {reason}."
    assert sentence in compare_render.comparison_heading(comparison)
    rows = list(csv.DictReader(io.StringIO(compare_render.as_csv(comparison), newline="")))
    assert [row["not_meaningful"] for row in rows] == [dimension] * 2
    assert [list(each["not_meaningful"]) for each in comparison.to_dict()["results"]] == [[dimension]] * 2
    for trace in comparison_chart((one, other)).data:
        is_hollow = [mark.endswith("-open") for mark in trace.marker.symbol[:-1]]
        assert is_hollow == [name == dimension for name in DIMENSIONS]
    alone = scored.with_outcomes({"b": "broken"}, model="demo")
    assert sentence in compare_render.empty(alone)
    assert f"{dimension} {one.scores[dimension]:.2f} (not meaningful)" in compare_render.empty(alone)
    assert ('class="state doubtful"' in compare_render.stage(alone)) == (dimension == "Overall")


def test_a_clip_of_one_frame_beside_others_makes_temporal_mean_nothing():
    comparison = Comparison((replace(FIRST, frame_seconds=(0.0,)), SECOND))
    rows = list(csv.DictReader(io.StringIO(compare_render.as_csv(comparison), newline="")))
    assert [row["not_meaningful"] for row in rows] == ["Temporal", ""]
    assert "Temporal means nothing here" in compare_render.comparison_heading(comparison)
    first, second = comparison_chart(comparison.results).data
    assert ["-open" in first.marker.symbol[3], "-open" in second.marker.symbol[3]] == [True, False]


def test_a_comparison_by_a_model_that_does_not_beat_its_baseline_says_so():
    one, other = (replace(each, trained_on=LOSES) for each in (FIRST, SECOND))
    comparison = Comparison((one, other))
    assert "does not beat the no-video baseline" in compare_render.comparison_heading(comparison)
    assert "Scored by demo, which does not beat the no-video baseline" in compare_render.exports(comparison)
    alone = board("a", "b").with_outcomes({"a": one, "b": "broken"}, model="demo")
    assert "does not beat the no-video baseline" in compare_render.empty(alone)


def test_a_clip_without_its_video_is_not_scored_and_takes_no_other_ones_scores():
    class Named:
        def score_all(self, requests, **_):
            yield from (replace(FIRST, video=str(path), prompt=prompt) for path, prompt in requests)

    here = board("a", "b", "c", each=True, own=("1", "2", "3", ""))
    half = replace(here, clips=(replace(here.clips[0], path=None), *here.clips[1:]))
    with gr.Blocks(), gr.Tabs() as tabs, gr.Tab("Compare", id="compare"):
        tab = CompareTab(lambda _: Named(), "demo", gr.State(), tabs=tabs)
    model, outcomes = tab.score(values_of(tab, half), lambda *_, **__: None)
    assert {key: outcome.prompt for key, outcome in outcomes.items()} == {"b": "2", "c": "3"}
    assert {clip.name: clip.model for clip in half.with_outcomes(outcomes, model=model).clips} == {
        "a": None,
        "b": "demo",
        "c": "demo",
    }


def test_what_a_person_typed_or_named_is_escaped():
    evil = '"><script>x</script>.mp4'
    one = replace(FIRST, video=evil, prompt=evil, model=evil)
    comparison = Comparison((one, replace(SECOND, model=evil)))
    here = board(evil, "b").with_outcomes({evil: one, "b": comparison.results[1]}, model="demo")
    failed = here.with_outcomes({"b": evil}, model="demo")
    fragments = [
        compare_render.stage(failed),
        compare_render.empty(failed),
        compare_render.empty(here.with_outcomes({evil: evil}, model="demo")),
        compare_render.comparison_heading(comparison),
        compare_render.table(here, comparison),
        compare_render.exports(comparison),
        compare_render.about(here, comparison),
    ]
    assert not any("<script" in fragment for fragment in fragments)
    assert not any('=""><' in fragment for fragment in fragments)


def test_the_csv_has_a_row_a_clip_and_no_formula():
    rows = list(csv.DictReader(io.StringIO(compare_render.as_csv(Comparison((FIRST, THIRD))), newline="")))
    assert [row["video"] for row in rows] == ["a.mp4", "'=c.mp4"]
    assert [row["prompt"] for row in rows] == ["a cat", "'+1"]
    for row, each, differences in zip(rows, (FIRST, THIRD), Comparison((FIRST, THIRD)).differences, strict=True):
        assert row["model"] == "demo"
        assert {name: float(row[name]) for name in DIMENSIONS} == each.scores
        assert {name: float(row[f"{name}_difference"]) for name in DIMENSIONS} == differences


def test_the_csv_has_the_ends_of_each_interval_of_a_model_that_has_some():
    sure = replace(FIRST.trained_on, margins={"Alignment": 1.0, "Temporal": 0.75})
    comparison = Comparison((replace(FIRST, trained_on=sure), replace(THIRD, trained_on=sure, frame_seconds=(0.0,))))
    first, third = csv.DictReader(io.StringIO(compare_render.as_csv(comparison), newline=""))
    assert [first["Alignment_low"], first["Alignment_high"]] == ["1.5", "3.5"]
    assert [first["Temporal_low"], first["Temporal_high"]] == ["3.75", "5.0"]
    assert [third["Alignment_low"], third["Alignment_high"]] == ["1.0", "2.0"]
    assert [third["Temporal_low"], third["Temporal_high"]] == ["", ""]  # one frame says nothing of time
    assert {row[f"Overall_{end}"] for row in (first, third) for end in ("low", "high")} == {""}
    assert list(first)[-12:-9] == ["not_meaningful", "neutral_prompt", "Traditional_low"]
    assert not any(
        name.endswith(("_low", "_high")) for name in compare_render.as_csv(COMPARISON).splitlines()[0].split(",")
    )


def test_a_file_is_named_after_the_clips_and_safe():
    one, other = replace(FIRST, video="/x/my clip: 1.mp4"), replace(SECOND, video="../b?.mp4")
    assert compare_render.file_name(Comparison((one, other))) == "comparison-my-clip-1-b"
    assert len(compare_render.file_name(Comparison((replace(one, video="y" * 300), other)))) <= 60


def test_a_remembered_video_is_said_to_be():
    remembered = replace(SECOND, seconds=FIRST.seconds | {"video": 0.0})
    here = board("a", "b").with_outcomes({"a": FIRST, "b": remembered}, model="demo")
    assert "not encoded again: B)" in compare_render.about(here, here.comparison)


def test_other_tabs_send_a_clip_to_the_next_free_place_and_bring_the_tab_to_the_front(tab):
    drawn = tab.add_clip(values_of(tab, Board()), Path("/uploads/a.mp4"), "a cat")
    assert [(clip.name, clip.path) for clip in drawn[tab.clips]] == [("a.mp4", Path("/uploads/a.mp4"))]
    assert drawn[tab.shared].value == "a cat"
    assert drawn[tab.outputs[-1]].selected == "compare"
    one = Board(drawn[tab.clips], shared="a cat")
    again = tab.add_clip(values_of(tab, one), Path("/uploads/b.mp4"), "a cat")
    assert [clip.name for clip in again[tab.clips]] == ["a.mp4", "b.mp4"]
    assert again[tab.button].interactive  # Compare can be pressed
    assert tab.each not in again  # it stays as it is


def test_the_fifth_clip_is_left_out_and_named(tab, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(gr, "Warning", told.append)
    files = [f"{name}.mp4" for name in "vwxyz"]
    drawn = tab.add_files({**values_of(tab, Board(shared="a cat")), tab.drop: files})
    assert [clip.name for clip in drawn[tab.clips]] == ["v.mp4", "w.mp4", "x.mp4", "y.mp4"]
    assert "z.mp4" in told[0]


def test_the_videos_of_a_saved_comparison_of_four_can_still_be_dropped_in(tab, tmp_path):
    opened = board_of(Comparison((FIRST, SECOND, THIRD, FIRST)))
    assert tab.draw(values_of(tab, Board()), opened)[tab.drop_column].visible
    full = replace(opened, clips=tuple(replace(clip, path=tmp_path) for clip in opened.clips))
    assert not tab.draw(values_of(tab, Board()), full)[tab.drop_column].visible


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"format": "a < b"}', "no comparison of this program"),
        (b" " * (MAX_COMPARISON_BYTES + 1), "more than a saved comparison"),
    ],
)
def test_a_saved_file_that_cannot_be_opened_says_why(tmp_path, content, problem):
    (tmp_path / "saved.json").write_bytes(content)
    with pytest.raises(RecordError, match=problem) as raised:
        read_comparison(tmp_path / "saved.json")
    assert str(raised.value).startswith("saved.json")


def test_stopped_the_clips_before_keep_their_scores_and_who_has_left_is_told():
    class Stopped:
        def score_all(self, requests, *, on_step, on_layer, should_stop):
            (path, prompt), *_ = requests
            on_step("video")
            on_layer(LayersReport(12, 24, 9.0))
            yield replace(FIRST, video=str(path), prompt=prompt)
            assert not should_stop()
            visitor.comparing.stop.set()
            assert should_stop()
            raise StoppedError("stopped")

    told: list[str] = []
    here, visitor = board("a", "b", "c", each=True, own=("1", "2", "3", "")), Session()
    with gr.Blocks(), gr.Tabs() as tabs, gr.Tab("Compare", id="compare"):
        tab = CompareTab(lambda _: Stopped(), "demo", gr.State(), tabs=tabs)
    values = {**values_of(tab, here), tab.session: visitor}
    _, outcomes = tab.score(values, lambda share, desc: told.append(f"{share:.2f} {desc}"))
    assert list(outcomes) == ["a"]
    assert "0.19 Clip 1 of 3, a: encoding the video: about 9 s left" in told
    visitor.comparing.stop.clear()
    visitor.close()
    with pytest.raises(gr.Error, match="session has ended"):
        tab.score(values, lambda *_, **__: None)
