from __future__ import annotations

import random

import pytest
from tables import record

from vjepa_demo.data.records import read_records
from vjepa_demo.data.split import split_records
from vjepa_demo.schema import RecordError, VideoRecord, prompt_key


def many(prompts: int = 40, clips: int = 5) -> list[VideoRecord]:
    """`clips` clips of each prompt, the prompts written in different ways."""
    ways = (str, str.upper, lambda text: f"  {text} ", lambda text: text.replace(" ", "\t"), str.title)
    return [
        record(prompt * clips + clip, ways[clip % 5](f"prompt {prompt}"))
        for prompt in range(prompts)
        for clip in range(clips)
    ]


@pytest.mark.parametrize(("fraction", "seed"), [(0.1, 0), (0.1, 3), (0.2, 1), (0.2, 4), (0.5, 2)])
def test_every_clip_is_on_one_side_and_no_prompt_on_both(fraction, seed):
    records = many()
    split = split_records(records, validation_fraction=fraction, seed=seed)
    assert sorted(split.train + split.validation, key=lambda each: each.line) == records
    assert not {each.prompt_key for each in split.train} & {each.prompt_key for each in split.validation}
    assert len(split.validation) == pytest.approx(fraction * len(records), abs=2.5)
    assert split.warnings == ()


def test_the_split_depends_on_seed_and_prompts_and_not_on_the_order():
    records = many()
    first = split_records(records, validation_fraction=0.2, seed=1)
    assert split_records(records, validation_fraction=0.2, seed=1) == first
    shuffled = random.Random(0).sample(records, len(records))
    assert set(map(id, split_records(shuffled, validation_fraction=0.2, seed=1).validation)) == set(
        map(id, first.validation)
    )
    assert split_records(records, validation_fraction=0.2, seed=2).validation != first.validation


def test_the_split_is_the_same_on_every_machine():
    split = split_records([record(i, f"prompt {i}") for i in range(30)], validation_fraction=0.2, seed=0)
    assert [each.line - 2 for each in split.validation] == [9, 13, 18, 22, 26, 27]


def test_one_prompt_with_most_of_the_clips_stays_in_training():
    records = [record(i, "the same") for i in range(80)] + [record(80 + i, f"other {i}") for i in range(20)]
    for seed in range(10):
        split = split_records(records, validation_fraction=0.2, seed=seed)
        assert len(split.validation) == 20
        assert "the same" not in {each.prompt_key for each in split.validation}


@pytest.mark.parametrize(
    ("records", "match"),
    [(many(8, 1), "8 clips with 8 prompts leave 2 of the 5"), (many(1, 50), "50 clips with 1 prompt leave 0 of the 5")],
)
def test_too_few_rows_for_validation_are_all_trained_on_and_it_is_said(records, match):
    split = split_records(records, validation_fraction=0.2, seed=0)
    assert (split.train, split.validation) == (tuple(records), ())
    assert match in split.warnings[0]
    assert "no metrics" in split.warnings[0]


def test_no_validation_on_request_and_a_wrong_fraction():
    split = split_records(many(), validation_fraction=0, seed=0)
    assert len(split.train) == 200
    assert "no metrics" in split.warnings[0]
    for fraction in (-0.1, 1, float("nan")):
        with pytest.raises(RecordError, match=r"the validation fraction is .*; 0 to below 1"):
            split_records(many(), validation_fraction=fraction, seed=0)


@pytest.mark.parametrize("validation", ["val", "Valid", "validation", "TEST", "dev"])
def test_a_split_column_is_honoured(table, folder, validation):
    rows = [f"{i},prompt {i},3,{validation if i >= 5 else 'Train'}" for i in range(10)]
    found = read_records(table("video,prompt,mos,split", *rows), folder(*(f"{i}.mp4" for i in range(10))))
    split = split_records(found.records, validation_fraction=0.9, seed=0)
    assert [each.name for each in split.train] == list("01234")
    assert [each.name for each in split.validation] == list("56789")
    assert split.warnings == ()


def test_a_given_split_warns_of_shared_prompts_empty_cells_and_too_few_rows():
    train = [record(i, f"prompt {i}", split="train") for i in range(9)] + [record(9, "prompt 9")]
    validation = [record(10 + i, f"Prompt  {7 + i}", split="validation") for i in range(6)]
    split = split_records(train + validation, validation_fraction=0.2, seed=0)
    assert (len(split.train), len(split.validation)) == (10, 6)
    assert split.warnings[0] == "1 row with an empty split column: used for training."
    assert split.warnings[1].startswith(
        "3 validation clips of 6 have a prompt that is also in training, such as “prompt 7”"
    )
    few = split_records(train + validation[3:], validation_fraction=0.2, seed=0)
    assert few.validation == ()
    assert "marks 3 clips for validation; at least 5" in few.warnings[-1]


def test_nothing_to_train_on_is_refused():
    with pytest.raises(RecordError, match="no clip is left to train on: no row can be used"):
        split_records([], validation_fraction=0.2, seed=0)
    with pytest.raises(RecordError, match="all are marked for validation"):
        split_records([record(i, "p", split="validation") for i in range(9)], validation_fraction=0.2, seed=0)


def test_prompts_are_the_same_in_any_case_spacing_and_unicode_form():
    assert prompt_key(" A  Cat\nＪumps cafe\u0301") == prompt_key("a cat jumps CAFÉ")
    assert prompt_key("a cat") != prompt_key("acat")
