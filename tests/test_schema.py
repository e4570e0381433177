from __future__ import annotations

import html
from dataclasses import replace

import pytest
from fakes import RESULT

from vjepa_demo.app import html as render
from vjepa_demo.schema import TrainedOn


def test_words_that_were_never_learned_are_named():
    trained_on = TrainedOn("procedural", 10, "shapes", known_words=("a", "red", "ball", "4k"))
    assert trained_on.unknown_words("A red ZEPPELIN, ballooning: 4K!") == ("zeppelin", "ballooning")
    assert trained_on.unknown_words("a ball") == ()
    assert trained_on.unknown_words("球 red") == ("球",)


def test_a_model_that_knows_english_knows_every_word():
    assert TrainedOn("human", 10, "clips").unknown_words("a zeppelin") == ()


def test_known_words_that_are_none_fail():
    with pytest.raises(ValueError, match="known_words"):
        TrainedOn("procedural", 10, "shapes", known_words=(1,))
    with pytest.raises(ValueError, match="known_words is 'red'; a list was expected"):
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
    assert result.doubtful == (("Alignment",) if unknown else ())
    marks = [f">{html.escape(word)}</mark>" in render.marked_prompt(result) for word in unknown]
    assert all(marks)
    assert ("<mark" in render.marked_prompt(result)) == bool(unknown)
    assert ("its Alignment means nothing" in render.heading(result)) == bool(unknown)


def test_what_is_marked_is_what_is_named():
    trained_on = TrainedOn("procedural", 10, "shapes", known_words=("red", "ball"))
    prompt = "İstanbul red ball"
    assert trained_on.unknown_words(prompt) == ("İstanbul".lower(),)
    marked = render.marked_prompt(replace(RESULT, trained_on=trained_on, prompt=prompt))
    assert ">İstanbul</mark> red ball" in marked


def test_a_long_list_of_known_words_is_cut():
    short = TrainedOn("procedural", 10, "x", known_words=tuple(f"w{n}" for n in range(305))).known_words_in_short
    assert short.endswith("w299 and 5 more")
    assert TrainedOn("procedural", 10, "x", known_words=("a", "b")).known_words_in_short == "a, b"
