from __future__ import annotations

import html
from dataclasses import replace

import pytest
from fakes import RESULT

from vjepa_demo import wording
from vjepa_demo.app import html as render
from vjepa_demo.schema import Comparison, TrainedOn


def test_words_that_were_never_learned_are_named():
    trained_on = TrainedOn("procedural", 10, "shapes", known_words=("a", "red", "ball", "4k"))
    assert trained_on.unknown_words("A red ZEPPELIN, ballooning: 4K!") == ("zeppelin", "ballooning")
    assert trained_on.unknown_words("a ball") == ()
    assert trained_on.unknown_words("球 red") == ("球",)


def test_a_note_on_the_video_is_told_by_every_interface():
    noted = replace(RESULT, notes=("The video is HDR.",))
    assert "The video is HDR." in wording.notes([noted, noted])
    assert noted.to_dict()["notes"] == ["The video is HDR."]
    comparison = Comparison((RESULT, noted))
    assert wording.comparison_notes(comparison)[-1] == "The video is HDR."
    assert Comparison.from_dict(comparison.to_dict()).results[1].notes == noted.notes


def test_a_model_that_knows_english_knows_every_word():
    assert TrainedOn("human", 10, "clips").unknown_words("a zeppelin") == ()


def test_known_words_that_are_none_fail():
    with pytest.raises(ValueError, match="known_words"):
        TrainedOn("procedural", 10, "shapes", known_words=(1,))
    with pytest.raises(ValueError, match="known_words is 'red'; a list of at most"):
        TrainedOn("procedural", 10, "shapes", known_words="red")


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [("A red ball! 🐶", ()), ("a zebra", ("zebra",)), ("🐶🐶 🐶🐶 <", ("🐶🐶", "<")), ("...", ("...",))],
)
def test_a_prompt_without_a_word_is_not_understood(prompt, unknown):
    trained_on = TrainedOn("procedural", 10, "shapes", known_words=("a", "red", "ball"))
    assert trained_on.unknown_words(prompt) == unknown
    assert TrainedOn("human", 10, "clips").unknown_words(prompt) == ()
    result = replace(RESULT, trained_on=trained_on, prompt=prompt)
    assert result.doubts == ({"Alignment": "unknown_words"} if unknown else {})
    marks = [f">{html.escape(word)}</mark>" in render.marked_prompt(result) for word in unknown]
    assert all(marks)
    assert ("<mark" in render.marked_prompt(result)) == bool(unknown)
    assert ("Alignment means nothing here" in render.score_heading(result)) == bool(unknown)


def test_what_is_marked_is_what_is_named():
    trained_on = TrainedOn("procedural", 10, "shapes", known_words=("red", "ball"))
    prompt = "İstanbul red ball"
    assert trained_on.unknown_words(prompt) == ("İstanbul".lower(),)
    marked = render.marked_prompt(replace(RESULT, trained_on=trained_on, prompt=prompt))
    assert ">İstanbul</mark> red ball" in marked


def test_a_long_list_of_known_words_is_cut():
    words = tuple(f"w{number}" for number in range(305))
    assert wording.known_words(TrainedOn("procedural", 10, "x", known_words=words)).endswith("w299 and 5 more")
    assert wording.known_words(TrainedOn("procedural", 10, "x", known_words=("a", "b"))) == "a, b"


def test_what_a_model_cannot_judge_has_a_reason():
    knows = TrainedOn("human", 10, "clips", known_words=("red",), dimensions=("Alignment", "Overall"))
    result = replace(RESULT, trained_on=knows, prompt="a zebra", frame_seconds=(0.0, 0.0))
    no_labels = dict.fromkeys(("Traditional", "Aesthetic", "Temporal"), "no_labels")
    assert result.doubts == no_labels | {"Alignment": "unknown_words"}
    assert list(result.doubts) == ["Traditional", "Alignment", "Aesthetic", "Temporal"], "in the order of DIMENSIONS"
    still = replace(RESULT, frame_seconds=(0.0, 0.0))
    assert still.doubts == {"Temporal": "single_frame"}
    assert wording.verdict_word(4.0, "Temporal", still.doubts, still.trained_on) == "–"
    assert wording.verdict_word(4.0, "Overall", still.doubts, still.trained_on) == "Good"
    assert "Temporal means nothing here: the video has a single frame." in wording.notes([still])
    assert result.to_dict()["not_meaningful"]["Alignment"] == "unknown_words"


@pytest.mark.parametrize(
    ("score", "baseline", "lead", "error", "beats"),
    [
        (0.6, 0.2, 0.4, 0.1, True),
        (0.6, 0.5, 0.1, 0.1, False),  # ahead by less than two standard errors
        (-0.8, None, -0.8, 0.1, False),
        (0.6, 0.5, 0.1, None, False),
        (0.6, 0.5, None, None, None),  # an older checkpoint: ahead, nobody knows how clearly
        (0.4, 0.5, None, None, False),
        (-0.8, -0.9, None, None, False),  # worse than chance
        (None, 0.5, None, None, None),
    ],
)
def test_one_rule_says_whether_a_model_beats_its_baseline(score, baseline, lead, error, beats):
    numbers = {"vquala_score": score, "no_video_baseline": baseline, "lead": lead, "lead_standard_error": error}
    trained_on = TrainedOn("human", 10, "clips", **numbers)
    assert trained_on.beats_baseline is beats
    assert ("do not rely on its scores" in wording.caution(trained_on)) == (beats is False)
    assert ("does not clearly beat" in wording.caution(trained_on)) == (trained_on.standing == "unclear")
    assert (wording.verdict_word(4.0, "Overall", {}, trained_on) == "–") == (beats is False)
    card = wording.card_verdict(trained_on)
    assert ("The model beats" in card) == (beats is True)
    assert ("not beat" in card or "not clearly beat" in card) == (beats is False)


@pytest.mark.parametrize("wrong", [{"lead": "much"}, {"vquala_score": True}, {"kind": "me"}, {"dimensions": ("Fun",)}])
def test_what_no_training_run_can_have_written_fails(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainedOn(**({"kind": "human", "num_clips": 1, "description": "x"} | wrong))


def test_a_model_whose_agreement_is_undefined_has_no_words():
    """Such as one that gives all validation clips the same score in a dimension."""
    constant = TrainedOn("human", 20, "clips", {"Temporal": 0.8}, num_held_out=10)
    assert constant.standing == "undefined"
    assert constant.beats_baseline is False
    assert "is undefined: do not rely on its scores" in wording.caution(constant)
    assert wording.verdict_word(4.0, "Temporal", {}, constant) == "–"
    unjudged = TrainedOn("human", 20, "clips")
    assert unjudged.standing is None
    assert wording.verdict_word(4.0, "Temporal", {}, unjudged) == "Good"


def test_a_dimension_that_disagreed_with_the_labels_has_no_word():
    mixed = TrainedOn("human", 20, "clips", {"Temporal": -0.4, "Overall": 0.9}, 10, 0.6, 0.2, lead=0.4)
    mixed = replace(mixed, lead_standard_error=0.1)
    assert mixed.beats_baseline is True
    assert [wording.verdict_word(4.0, name, {}, mixed) for name in ("Temporal", "Overall")] == ["–", "Good"]
    assert wording.caution(mixed) == "Its scores of Temporal did not agree with labels of clips it had not seen."


def test_nothing_is_best_by_a_model_that_does_not_beat_its_baseline():
    loses = TrainedOn("human", 20, "clips", vquala_score=0.1, no_video_baseline=0.4, lead=-0.3)
    clips = tuple(replace(RESULT, trained_on=loses, video=name) for name in "ab")
    assert set(Comparison(clips).best.values()) == {()}
