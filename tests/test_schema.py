from __future__ import annotations

import pytest

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
