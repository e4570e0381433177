"""People rate the clips of a study: fair orders, nothing lost, nothing mixed, and what the answers say."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tables import last

from vjepa_demo.data.ratings import RATINGS_FILE, write_study
from vjepa_demo.data.records import read_records
from vjepa_demo.schema import FolderError, RecordError
from vjepa_demo.schema.rating import Rater, Study, StudyClip
from vjepa_demo.tasks.batch_table import batch_of_files, read_batch
from vjepa_demo.tasks.labels import check_labels
from vjepa_demo.tasks.rate import OpenStudy, find_study, open_study
from vjepa_demo.tasks.study import make_study

GOOD = {"Overall": 4}


def study_in(
    folder: Path, num_clips: int = 12, *, pairs: bool = False, num_prompts: int = 4, seed: int = 0
) -> OpenStudy:
    """A study whose clips are never opened; the names of the files say what made them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clips").mkdir(exist_ok=True)
    clips = []
    for number in range(num_clips):
        key = f"key{number:04}"
        (folder / "clips" / f"{key}.mp4").write_bytes(f"video {number}".encode())
        prompt = f"prompt {number % num_prompts}"
        clips.append(StudyClip(key, f"clips/{key}.mp4", prompt, f"sora/{number}.mp4", f"sha {number}", "sora"))
    both = [
        (one.key, other.key)
        for place, one in enumerate(clips)
        for other in clips[place + 1 :]
        if one.prompt == other.prompt
    ]
    study = Study(
        f"id of {folder.name}",
        "A study",
        "pairs" if pairs else "clips",
        ("Overall",),
        tuple(clips),
        tuple(both) if pairs else (),
        seed,
    )
    write_study(folder, study)
    return OpenStudy(folder)


def rate_all(study: OpenStudy, rater: Rater, given=GOOD) -> list[tuple[str, ...]]:
    """Answer everything; returns what was shown, in its order."""
    shown = []
    while items := study.upcoming(rater, count=1):
        study.rate(rater, items[0].token, given)
        shown.append(items[0].clips)
    return shown


# ---- the order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_clips", [1, 3, 4, 5, 8, 12, 24, 100])
def test_each_clip_comes_once_a_tenth_twice_far_apart_after_the_warm_ups(tmp_path, num_clips):
    study = study_in(tmp_path, num_clips)
    ann = study.join("Ann")
    num_warm_ups = sum(item.is_warm_up for item in study.upcoming(ann, count=200))
    shown = rate_all(study, ann)
    assert num_warm_ups == min(3, num_clips // 4)
    counted = shown[num_warm_ups:]
    times = Counter(counted)
    assert len(times) == num_clips
    repeated = [clips for clips, count in times.items() if count == 2]
    assert len(repeated) == (-(-num_clips // 10) if num_clips >= 4 else 0)
    for clips in repeated:
        first, second = (place for place, each in enumerate(counted) if each == clips)
        assert second - first > max(2, num_clips // 3)


def test_one_prompt_seldom_comes_twice_in_a_row(tmp_path):
    study = study_in(tmp_path, 40, num_prompts=4)
    ann = study.join("Ann")
    prompts = [item.prompt for item in study.upcoming(ann, count=43)][3:]
    assert sum(one == other for one, other in pairwise(prompts)) <= 4  # by chance ten would be


def test_each_rater_has_an_order_of_their_own_that_the_seed_decides(tmp_path):
    orders = {}
    for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
        study = study_in(tmp_path / folder, seed=seed)
        for name in ("Ann", "Bob"):
            orders[folder, name] = [item.clips for item in study.upcoming(study.join(name), count=9)][3:]
    assert orders["one", "Ann"] == orders["two", "Ann"]
    assert orders["one", "Ann"] != orders["three", "Ann"]
    assert orders["one", "Ann"] != orders["one", "Bob"]


def test_all_raters_practise_on_the_same_clips(tmp_path):
    study = study_in(tmp_path)
    one, other = ([item.clips for item in study.upcoming(study.join(name), count=3)] for name in ("Ann", "Bob"))
    assert one == other


def test_a_rater_is_given_neither_the_generator_nor_the_name_of_the_file(tmp_path):
    study = study_in(tmp_path)
    for item in study.upcoming(study.join("Ann"), count=20):
        assert "sora" not in repr(item)
        assert "sora" not in str(study.clip_file(item.clips[0]).relative_to(tmp_path))


def test_what_comes_is_known_ahead(tmp_path):
    study = study_in(tmp_path, 24)
    ann = study.join("Ann")
    ahead = study.upcoming(ann, count=2)
    shown = []
    while ahead:
        shown.append(ahead[0].token)
        study.rate(ann, ahead[0].token, GOOD)
        after = study.upcoming(ann, count=2)
        assert after[:1] == ahead[1:]
        ahead = after
    assert len(set(shown)) == len(shown) == 3 + 24 + 3


def test_a_chooser_says_which_clip_comes_next_but_repeats_stay(tmp_path):
    study = study_in(tmp_path, 24)
    ann = study.join("Ann")
    shown = []
    while items := study.upcoming(ann, count=1, choose=max):
        study.rate(ann, items[0].token, GOOD)
        shown.append(items[0].clips[0])
    firsts = list(dict.fromkeys(shown[3:]))
    assert firsts == sorted(firsts, reverse=True)
    assert len(shown) == 3 + 24 + 3


def test_pairs_have_random_sides_and_a_repeat_turns_them_around(tmp_path):
    study = study_in(tmp_path, 32, pairs=True)
    shown = rate_all(study, study.join("Ann"), {"Overall": "same"})[3:]
    units = Counter(tuple(sorted(clips)) for clips in shown)
    assert len(units) == 4 * 28
    assert 0.3 < sum(left < right for left, right in shown) / len(shown) < 0.7
    for unit in (unit for unit, count in units.items() if count == 2):
        first, second = (clips for clips in shown if tuple(sorted(clips)) == unit)
        assert first == second[::-1]


# ---- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_there_after_the_study_was_opened_anew(tmp_path):
    study = study_in(tmp_path)
    ann = study.join(" Ann  Smith ")
    for _ in range(5):
        study.rate(ann, study.upcoming(ann)[0].token, GOOD)
    again = OpenStudy(tmp_path)
    assert again.upcoming(ann) == study.upcoming(ann)
    assert again.progress(ann).done == 5
    assert again.ratings() == study.ratings()
    assert {rating.rater for rating in again.ratings()} == {"Ann Smith"}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"Overall": 0}, "Overall is 0; a whole number from 1 to 5 was expected, or “cannot judge”"),
        ({"Overall": 6}, "Overall is 6"),
        ({"Overall": 2.5}, "Overall is 2.5"),
        ({"Overall": True}, "Overall is True"),
        ({"Overall": "a"}, "Overall is 'a'"),
        ({}, "Overall has no answer"),
        ({"Overall": 3, "Temporal": 3}, "“Temporal” is not rated in this study"),
    ],
)
def test_an_answer_out_of_range_is_refused_and_not_recorded(tmp_path, given, match):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    item = study.upcoming(ann)[0]
    with pytest.raises(RecordError, match=match):
        study.rate(ann, item.token, given)
    assert study.ratings() == ()
    assert study.upcoming(ann)[0] == item


def test_a_pair_takes_sides_alone(tmp_path):
    study = study_in(tmp_path, pairs=True)
    ann = study.join("Ann")
    token = study.upcoming(ann)[0].token
    with pytest.raises(RecordError, match="Overall is 3; a, b or same was expected"):
        study.rate(ann, token, {"Overall": 3})
    study.rate(ann, token, {"Overall": "b"})


def test_cannot_judge_is_an_answer_that_no_repeat_asks_for(tmp_path):
    study = study_in(tmp_path, 12)
    ann = study.join("Ann")
    shown = rate_all(study, ann, None)
    assert len(shown) == 3 + 12
    assert study.progress(ann).num_judged == 0
    assert {rating.given["Overall"] for rating in study.ratings()} == {None}


def test_a_second_click_is_recorded_once_and_another_answer_needs_undo(tmp_path):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    token = study.upcoming(ann)[0].token
    study.rate(ann, token, GOOD)
    study.rate(ann, token, GOOD)
    assert len(study.ratings()) == 1
    with pytest.raises(RecordError, match="undo it first"):
        study.rate(ann, token, {"Overall": 1})
    with pytest.raises(RecordError, match="not part of the study"):
        study.rate(ann, "nonsense", GOOD)


def test_undo_brings_the_item_back_and_keeps_the_line(tmp_path):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    assert study.undo(ann) is None
    items = study.upcoming(ann, count=4)
    for item in items:
        study.rate(ann, item.token, {"Overall": 1})
    assert study.undo(ann) == items[3]
    assert study.undo(ann) == items[2]
    assert study.upcoming(ann, count=2) == items[2:]
    study.rate(ann, items[2].token, {"Overall": 5})
    assert [rating.given["Overall"] for rating in OpenStudy(tmp_path).ratings()] == [1, 1, 5]
    kinds = [json.loads(line)["kind"] for line in (tmp_path / RATINGS_FILE).read_text().splitlines()]
    assert kinds == ["join", *["rating"] * 4, "undo", "undo", "rating"]


def test_undo_of_a_repeat_brings_the_same_repeat_back(tmp_path):
    study = study_in(tmp_path, 24)
    ann = study.join("Ann")
    rate_all(study, ann)
    before = [rating.clips for rating in study.ratings()]
    for _ in range(14):
        study.undo(ann)
    rate_all(study, ann)
    assert [rating.clips for rating in study.ratings()] == before


def test_the_time_left_is_that_of_an_answer_times_what_is_left(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    study = study_in(tmp_path, 12)
    ann = study.join("Ann")
    assert study.progress(ann).seconds_left is None
    for pause in (4.0, 4.0, 3600.0, 4.0, 4.0):  # lunch does not count
        clock[0] += pause
        study.rate(ann, study.upcoming(ann)[0].token, GOOD)
    progress = study.progress(ann)
    assert (progress.done, progress.total, progress.num_judged) == (5, 3 + 12 + 2, 2)
    assert progress.seconds_left == 4.0 * 12


# ---- raters ----------------------------------------------------------------------------------------------------------


def test_a_second_rater_of_one_name_chooses_another(tmp_path):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    with pytest.raises(RecordError, match="“Ann” rates this study already: choose another name"):
        study.join("  aNN ")
    for secret in ("", "guess", ann.secret[:-1]):
        with pytest.raises(RecordError, match="does not know the rater"):
            study.upcoming(Rater("Ann", secret))
    assert ann.secret not in (tmp_path / RATINGS_FILE).read_text()
    assert ann.secret not in repr(ann)


@pytest.mark.parametrize("name", ["نازنین\u200cزهرا", "👩\u200d🔬"])
def test_a_name_may_have_the_joiners_that_its_script_needs(tmp_path, name):
    study = study_in(tmp_path)
    assert study.join(name).name == name
    with pytest.raises(RecordError, match="rates this study already"):
        study.join(name.translate({0x200C: None, 0x200D: None}))


@pytest.mark.parametrize("name", ["", "   ", "a" * 61, "a\0b", "a\u202eb", "\u200d", "a\u200bb"])
def test_a_name_that_cannot_be_shown_is_refused(tmp_path, name):
    with pytest.raises(RecordError, match="a name of 1 to 60 characters was expected"):
        study_in(tmp_path).join(name)


def test_a_study_knows_its_raters_by_their_secret(tmp_path):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    assert OpenStudy(tmp_path).knows(ann)
    assert not study.knows(Rater("Bob", ann.secret))
    assert not study.knows(Rater("Ann", "\ud800"))
    with pytest.raises(RecordError, match="does not know the rater"):
        study.upcoming(Rater("Ann", "\ud800"))


def test_a_study_takes_so_many_raters(tmp_path, monkeypatch):
    monkeypatch.setattr("vjepa_demo.tasks.rate.MAX_RATERS", 2)
    study = study_in(tmp_path)
    raters = [study.join(name) for name in ("Ann", "Bob")]
    with pytest.raises(RecordError, match="this study has 2 raters already"):
        study.join("Cyn")
    rate_all(study, raters[1])


def test_a_study_takes_so_many_answers(tmp_path, monkeypatch):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    monkeypatch.setattr("vjepa_demo.data.ratings.MAX_RATINGS_BYTES", 1000)
    with pytest.raises(RecordError, match="this study is full"):
        rate_all(study, ann)
    assert 1000 <= (tmp_path / RATINGS_FILE).stat().st_size < 1300
    assert len(study.ratings()) > 2
    study.end()
    assert study.ended


def test_a_token_is_known_to_the_study_alone_and_is_one_raters(tmp_path):
    study = study_in(tmp_path, 24)
    ann, bob = study.join("Ann"), study.join("Bob")
    (item,) = study.upcoming(ann, count=1)
    (same,) = study.upcoming(bob, count=1)
    assert item.clips == same.clips  # they practise on the same clips
    for wrong in (same.token, item.token[:-1] + "g", item.token[1:], item.token.upper() + "0", "\ud800", "0" * 32):
        with pytest.raises(RecordError, match="not part of the study"):
            study.rate(ann, wrong, GOOD)
        assert study.upcoming(ann, count=1, showing=wrong) == (item,)
    OpenStudy(tmp_path).rate(ann, item.token, GOOD)
    assert [rating.rater for rating in study.ratings()] == ["Ann"]


def test_what_was_given_is_not_said_at_length(tmp_path):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    token = study.upcoming(ann)[0].token
    for given in ({"Overall": "x" * 10_000}, {"x" * 10_000: 3}):
        with pytest.raises(RecordError) as caught:
            study.rate(ann, token, given)
        assert len(str(caught.value)) < 200


def test_several_raters_at_once_are_not_mixed(tmp_path):
    study_in(tmp_path, 12)

    def run(name: str) -> None:
        study = OpenStudy(tmp_path)  # as another process has it
        rate_all(study, study.join(name), {"Overall": len(name)})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, ["A", "Bo", "Cyn", "Dora"]))
    found = Counter((rating.rater, rating.given["Overall"]) for rating in OpenStudy(tmp_path).ratings())
    assert found == {("A", 1): 17, ("Bo", 2): 17, ("Cyn", 3): 17, ("Dora", 4): 17}


def test_threads_share_an_open_study(tmp_path):
    study_in(tmp_path, 12)
    study = open_study(tmp_path)
    assert open_study(tmp_path) is study
    with ThreadPoolExecutor(4) as pool:
        raters = list(pool.map(study.join, ["A", "B", "C", "D"]))
        shown = list(pool.map(lambda rater: rate_all(study, rater), raters))
    assert [len(each) for each in shown] == [17] * 4


def test_a_study_made_anew_in_the_same_folder_is_another_one(tmp_path):
    study_in(tmp_path, 4)
    before = open_study(tmp_path)
    study_in(tmp_path, 5)
    assert len(open_study(tmp_path).study.clips) == 5
    assert open_study(tmp_path) is not before


def test_the_studies_that_were_used_last_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr("vjepa_demo.tasks.rate._open", {})
    monkeypatch.setattr("vjepa_demo.tasks.rate.MAX_OPEN", 2)
    for name in ("one", "two", "three"):
        study_in(tmp_path / name, 4)
    one, two = open_study(tmp_path / "one"), open_study(tmp_path / "two")
    assert open_study(tmp_path / "one") is one
    open_study(tmp_path / "three")
    assert open_study(tmp_path / "one") is one
    assert open_study(tmp_path / "two") is not two


# ---- the owner -------------------------------------------------------------------------------------------------------


def test_a_clip_that_cannot_be_shown_is_skipped_for_all_and_named(tmp_path):
    study = study_in(tmp_path, 12)
    ann, bob = study.join("Ann"), study.join("Bob")
    key = study.upcoming(ann)[0].clips[0]
    study.skip_clip(key, "it cannot be decoded")
    study.skip_clip(key, "it cannot be decoded")
    other = OpenStudy(tmp_path)
    for rater in (ann, bob):
        assert all(key not in item.clips for item in other.upcoming(rater, count=50))
        total = other.progress(rater).total
        assert len(rate_all(other, rater)) == total == 2 + 11 + 2
    name = next(clip.name for clip in study.study.clips if clip.key == key)
    assert other.statistics().skipped == {name: "it cannot be decoded"}
    assert other.statistics().notes[0] == f"{name} is shown to nobody: it cannot be decoded."


def test_an_ended_study_takes_no_more_answers_and_keeps_those_it_has(tmp_path):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    token = study.upcoming(ann)[0].token
    study.rate(ann, token, GOOD)
    assert not study.ended
    OpenStudy(tmp_path).end()
    assert study.ended
    for act in (lambda: study.rate(ann, token, GOOD), lambda: study.join("Bob"), lambda: study.undo(ann)):
        with pytest.raises(RecordError, match="this study has ended"):
            act()
    assert len(study.ratings()) == 1
    assert study.statistics().ended
    study.end(ended=False)
    study.join("Bob")


def test_a_link_leads_to_its_study_alone(tmp_path):
    for name in ("one", "two"):
        study_in(tmp_path / name)
    folders = [tmp_path / "deleted", tmp_path / "one", tmp_path / "two"]
    assert find_study(folders, "id of two").folder == tmp_path / "two"
    for wrong in ("", "id of", "id of ünknown", "\ud800"):
        with pytest.raises(RecordError, match="this link leads to no study"):
            find_study(folders, wrong)


def test_a_full_disk_records_nothing_and_says_so(tmp_path, monkeypatch):
    study = study_in(tmp_path)
    ann = study.join("Ann")
    item = study.upcoming(ann)[0]

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vjepa_demo.data.ratings.os.fsync", full)
        with pytest.raises(FolderError, match=r"No space left on device\): nothing was recorded"):
            study.rate(ann, item.token, GOOD)
    assert OpenStudy(tmp_path).upcoming(ann)[0] == item


def test_a_study_with_a_line_of_another_program_says_so(tmp_path):
    study = study_in(tmp_path)
    study.join("Ann")
    with (tmp_path / RATINGS_FILE).open("a") as file:
        file.write('{"kind": "rating", "rater": "Nobody"}\n')
    good = (tmp_path / RATINGS_FILE).read_text().splitlines()[0].replace("Ann", "Bob")
    with (tmp_path / RATINGS_FILE).open("a") as file:
        file.write(good + "\n")
    for _ in range(2):  # the good line after it is not lost silently
        with pytest.raises(RecordError, match="none of this program's"):
            study.ratings()


def test_an_answer_that_did_not_reach_the_disk_is_forgotten_by_who_read_it(tmp_path, monkeypatch):
    study, other = study_in(tmp_path), OpenStudy(tmp_path)
    ann = study.join("Ann")
    item = study.upcoming(ann)[0]

    seen = []

    def fails(_: int) -> None:
        seen.append(len(other.ratings()))
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("vjepa_demo.data.ratings.os.fsync", fails)
        with pytest.raises(FolderError, match="nothing was recorded"):
            study.rate(ann, item.token, {"Overall": 1})
    assert seen == [1, 0]
    for each in (study, other, OpenStudy(tmp_path)):
        assert each.ratings() == ()
        assert each.upcoming(ann)[0] == item
    study.rate(ann, item.token, {"Overall": 5})
    assert [rating.given["Overall"] for rating in other.ratings()] == [5]


# ---- export ----------------------------------------------------------------------------------------------------------


def test_exported_tables_are_read_with_the_exported_videos(tmp_path):
    study = study_in(tmp_path / "study", 4)
    for name, score in (("Ann", 3), ("Bob", 5)):
        rate_all(study, study.join(name), {"Overall": score})
    out = tmp_path / "out"
    tables = study.export(out, videos=True)
    assert [table.name for table in tables] == ["labels.csv", "ratings.csv", "scores.csv"]
    assert len(tables[2].read_text().splitlines()) == 1 + 4
    assert (out / "videos/sora/2.mp4").read_bytes() == b"video 2"
    assert len((out / "ratings.csv").read_text().splitlines()) == 1 + 2 * (4 + 1)
    records = read_records(out / "labels.csv", out / "videos", label_range=(1, 5))
    assert [record.labels for record in records.records] == [{"Overall": 4.0}] * 4
    with pytest.raises(FolderError, match="is not empty"):
        study.export(out)


def test_nothing_rated_is_nothing_to_export(tmp_path):
    study = study_in(tmp_path / "study")
    rate_all(study, study.join("Ann"), None)
    with pytest.raises(RecordError, match="nobody has rated anything"):
        study.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_statistics_of_pairs_and_of_clips(tmp_path):
    of_pairs = study_in(tmp_path / "pairs", 8, pairs=True)
    rate_all(of_pairs, of_pairs.join("Ann"), {"Overall": "a"})
    found = of_pairs.statistics()
    assert found.dimensions == {}
    assert found.pairs["Overall"].raters[0].left_share.value == 1
    assert "“Ann” gave every pair the same answer in Overall (a)" in found.notes[0]
    of_clips = study_in(tmp_path / "clips", 12)
    rate_all(of_clips, of_clips.join("Bob"))
    found = of_clips.statistics()
    assert (found.num_raters, found.num_answers, len(found.dimensions["Overall"].clips)) == (1, 14, 12)
    clip = found.dimensions["Overall"].clips[7]
    assert (clip.key, clip.name, clip.prompt) == ("key0007", "sora/7.mp4", "prompt 3")
    assert "“Bob” gave every clip the same answer in Overall (4)" in found.notes[0]
    json.dumps(found.to_dict())


# ---- making a study --------------------------------------------------------------------------------------------------


def test_a_study_has_copies_under_names_that_say_nothing(tmp_path, world):
    (tmp_path / "sora.mp4").write_bytes(world.read_bytes())
    (tmp_path / "again.mp4").write_bytes(world.read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    table = tmp_path / "table.csv"
    table.write_text("video,prompt,model\nsora.mp4,a globe,Sora\nagain,A  globe,Sora\nbroken.mp4,x,y\nno.mp4,x,y\n")
    made = last(make_study(read_batch(table, None), tmp_path / "study", title="  My study "))
    (clip,) = made.study.clips
    assert (clip.name, clip.prompt, clip.generator) == ("sora.mp4", "a globe", "Sora")
    assert (tmp_path / "study" / clip.video).read_bytes() == world.read_bytes()
    assert "sora" not in clip.video
    assert made.study.title == "My study"
    text = " ".join(made.notes)
    assert "broken.mp4" in text
    assert "no video “no.mp4”" in text
    assert "Left out 1 row with the video and the prompt of another row." in text
    assert OpenStudy(tmp_path / "study").study == made.study
    other = last(make_study(read_batch(table, None), tmp_path / "other"))
    assert other.study.id != made.study.id


def test_a_study_without_a_clip_or_without_pairs_leaves_nothing(tmp_path, world):
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    with pytest.raises(RecordError, match=r"no clip can be rated: .*broken\.mp4"):
        last(make_study(batch_of_files([tmp_path / "broken.mp4"], "x"), tmp_path / "study"))
    with pytest.raises(RecordError, match="no prompt has two clips here"):
        last(make_study(batch_of_files([world], "x"), tmp_path / "study", kind="pairs"))
    with pytest.raises(RecordError, match="some of Traditional, Alignment"):
        last(make_study(batch_of_files([world], "x"), tmp_path / "study", dimensions=("Taste",)))
    assert not (tmp_path / "study").exists()


# ---- the command line ------------------------------------------------------------------------------------------------


def test_a_study_from_the_command_line_to_labels(tmp_path, world, run):
    made = run(
        "rate", "new", world, "--prompt", "a globe", "--out", tmp_path / "study", "--overall", "--title", "Globe"
    )
    assert made.returncode == 0
    assert f"“Globe”: 1 clip, in {tmp_path / 'study'}" in made.stdout
    assert run("rate", "export", tmp_path / "study", "--out", tmp_path / "out").returncode == 1
    study = open_study(tmp_path / "study")
    rate_all(study, study.join("Ann"))
    shown = run("rate", "stats", tmp_path / "study")
    assert "“Globe”: 1 clip, 1 rater, 1 answer" in shown.stdout
    assert "-: there is one rater" in shown.stdout
    data = json.loads(run("rate", "stats", tmp_path / "study", "--json").stdout)
    (clip,) = data["dimensions"]["Overall"]["clips"]
    assert (clip["mos"], clip["name"], clip["prompt"]) == (4, world.name, "a globe")
    exported = run("rate", "export", tmp_path / "study", "--out", tmp_path / "out", "--with-videos")
    assert f"wrote {tmp_path / 'out' / 'labels.csv'}" in exported.stdout
    records = last(check_labels(tmp_path / "out/labels.csv", tmp_path / "out/videos", extract_to=tmp_path / "x"))
    assert [record.labels for record in records.records] == [{"Overall": 4.0}]
    assert run("rate", "stats", tmp_path / "nothing").stderr.startswith(f"error: {tmp_path / 'nothing'} holds no study")


# ---- killed ----------------------------------------------------------------------------------------------------------


def rate_in_a_loop(folder: Path, rater: Rater, told: Connection) -> None:
    """Answers everything, and tells of each answer once it was acknowledged."""
    study = OpenStudy(folder)
    number = 0
    while items := study.upcoming(rater, count=1):
        number += 1
        study.rate(rater, items[0].token, {"Overall": 1 + number % 5})
        told.send((items[0].token, 1 + number % 5))


def test_killed_at_any_moment_every_acknowledged_rating_is_there(tmp_path):
    study = study_in(tmp_path, 400)
    ann = study.join("Ann")
    rng = random.Random(0)
    acknowledged: dict[str, int] = {}
    forks = multiprocessing.get_context("fork")  # a new Python would take seconds to load
    for _ in range(10):
        hears, tells = forks.Pipe(duplex=False)
        child = forks.Process(target=rate_in_a_loop, args=(tmp_path, ann, tells))
        child.start()
        tells.close()
        for _ in range(rng.randrange(1, 40)):
            acknowledged.update([hears.recv()])
        child.kill()  # SIGKILL, wherever it is in the next rating
        child.join()
        with suppress(EOFError):
            while True:
                acknowledged.update([hears.recv()])
        hears.close()
        assert child.exitcode == -signal.SIGKILL
    found = OpenStudy(tmp_path)
    assert found.ratings()
    state = found._raters["ann"]
    kept = {found._token(state, what): rating.given["Overall"] for what, rating in state.rounds.items()}
    assert acknowledged.items() <= kept.items()
    assert len(kept) <= len(acknowledged) + 10  # one a kill may be written and not acknowledged
    rate_all(found, ann)
    assert found.progress(ann).done == 3 + 400 + 40
