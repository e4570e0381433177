"""The benchmark that measures a model on a folder of clips and on a table of labels."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import real_clips as bench
from vjepa_demo.config import CACHE_GB_VARIABLE, DIMENSIONS
from vjepa_demo.media.video import write_video
from vjepa_demo.procedural.scenes import Scene, render_scene
from vjepa_demo.schema import VideoError, VideoRecord

BY_FRAMES = ("shuffled frames", "freeze", "frozen ends")  # a worse version need not differ more from the clip
PROMPTS = ("a red ball rolls over grass", "a blue star", "a green cube over water", "zyx qwv")


def draw(colour: str, frames: int = 24) -> torch.Tensor:
    scene = Scene(colour, "ball", "leaves", "right", "left", look=0)
    return render_scene(scene, num_frames=frames, duration_seconds=frames / 24, height=96, width=128)


@pytest.fixture(scope="module")
def clip() -> bench.RealClip:
    return bench.RealClip("drawn", draw("red"), 24.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips and their table."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["video_name,Prompt,generator,Traditional_MOS,Temporal_MOS"]
    for place, (colour, prompt) in enumerate(zip(("red", "blue", "green", "white"), PROMPTS, strict=True)):
        write_video(folder / f"{colour}.mp4", draw(colour), frames_per_second=24)
        lines.append(f"{colour}.mp4,{prompt},G{place % 2},{place + 1},{4 - place}")
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def keep_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_GB_VARIABLE, "0")  # main() sets it: it is put back after the test


# ---- versions


def test_there_are_17_kinds_of_five_severities_and_the_docstring_names_them_all() -> None:
    assert len(bench.KINDS) == 17
    assert {len(kind.severities) for kind in bench.KINDS.values()} == {5}
    told = " ".join((bench.__doc__ or "").split())
    assert all(name.removesuffix(" CRF") in told for name in bench.KINDS)


@pytest.mark.parametrize("kind", bench.KINDS)
def test_a_clip_is_made_worse_step_by_step(clip: bench.RealClip, kind: str) -> None:
    if kind not in bench.available_kinds():
        pytest.skip("this FFmpeg has no such encoder")
    worse = [bench.KINDS[kind].make(clip, severity) for severity in bench.KINDS[kind].fitting(clip)]
    assert len(worse) == {"slide show": 2, "shuffled frames": 3}.get(kind, 5)
    assert {frames.dtype for frames in worse} == {torch.uint8}
    if kind == "drop":
        assert [len(frames) for frames in worse] == [23, 22, 21, 20, 19]
        return
    assert {frames.shape for frames in worse} == {clip.frames.shape}
    apart = [float((frames.float() - clip.frames.float()).abs().mean()) for frames in worse]
    assert apart[0] > 0
    assert apart[-1] > 1.2 * apart[0]
    assert apart == sorted(apart) or kind in BY_FRAMES


def test_frames_that_are_lost_leave_no_frame_held_and_more_of_them_are_lost_each_time(clip: bench.RealClip) -> None:
    numbered = replace(clip, frames=torch.arange(24, dtype=torch.uint8).view(-1, 1, 1, 1))
    kept = [bench.drop(numbered, times).flatten().tolist() for times in range(1, 6)]
    assert all(len(set(frames)) == len(frames) for frames in kept)
    assert all(set(worse) < set(better) for better, worse in pairwise(kept))
    assert not {0, 23} - set(kept[-1]), "only places within the clip"


def test_held_frames_are_where_they_are_said_to_be(clip: bench.RealClip) -> None:
    numbered = replace(clip, frames=torch.arange(12, dtype=torch.uint8).view(-1, 1, 1, 1))
    assert bench.hold(numbered, 4).flatten().tolist() == [0] * 4 + [4] * 4 + [8] * 4
    assert bench.freeze(numbered, 0.5).flatten().tolist() == [0, 1, 2, 3, 3, 3, 3, 3, 3, 9, 10, 11]
    assert bench.freeze_ends(numbered, 1 / 3).flatten().tolist() == [4] * 5 + [5, 6] + [7] * 5


def test_a_shaken_frame_is_moved_by_what_is_said() -> None:
    ramp = torch.arange(100, dtype=torch.uint8).expand(3, 3, 100, 100)  # its shortest edge is 100, not 720
    moved = bench._moved(bench.RealClip("ramp", ramp, 24.0), np.array([[7.2, 0.0], [-14.4, 7.2], [10.8, 0.0]]))
    assert moved[:, 0, 50, 50].tolist() == [49, 52, 48], "to the right by 1, to the left by 2, to the right by 1.5"


def test_what_does_not_show_keeps_what_the_clip_shows(clip: bench.RealClip) -> None:
    made = {name: make(clip) for name, make in bench.SAME.items()}
    coded, rate = made["re-encoded at CRF 18"]
    assert (0 < (coded.float() - clip.frames.float()).abs().mean() < 6, rate) == (True, 1)
    assert made["resized by 0.75"][0].shape == (24, 3, 72, 96)
    assert torch.equal(made["trimmed by a tenth"][0], clip.frames[:22])
    assert torch.equal(made["cropped by 5 %"][0], clip.frames[..., 2:-2, 3:-3])
    assert torch.equal(made["mirrored"][0].flip(-1), clip.frames)
    assert torch.equal(made["letterboxed"][0][..., 12:-12, :], clip.frames)
    numbered = replace(clip, frames=torch.arange(8, dtype=torch.uint8).view(-1, 1, 1, 1))
    fourth, times = bench.SAME["every 4th frame twice"](numbered)
    assert (fourth.flatten().tolist(), times) == ([0, 0, 1, 2, 3, 4, 4, 5, 6, 7], 1.25)
    twice, times = bench.SAME["every frame twice"](numbered)
    assert (twice.flatten().tolist()[:5], times) == ([0, 0, 1, 1, 2], 2)


def test_a_clip_is_cut_to_five_seconds_and_720_lines(tmp_path: Path) -> None:
    frames = torch.randint(0, 255, (12, 3, 900, 1000), dtype=torch.uint8)
    bench.write_version(tmp_path / "large.mp4", frames, 2)
    clip = bench.read_clip(tmp_path / "large.mp4")
    assert clip.frames.shape == (10, 3, 720, 800)


def test_a_clip_of_too_few_frames_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "short.mp4", draw("red", frames=4), frames_per_second=24)
    with pytest.raises(VideoError, match=r"short\.mp4 has 4 frames in its first 5 s; 8 expected"):
        bench.read_clip(tmp_path / "short.mp4")


# ---- arithmetic and reports


def test_pairs_of_versions_are_counted_in_the_order_of_damage() -> None:
    assert bench.pair_accuracy([5, 4, 3, 2]) == 1
    assert bench.pair_accuracy([2, 3, 4, 5]) == 0
    assert bench.pair_accuracy([5, 3, 4, 2]) == pytest.approx(5 / 6)
    assert bench.pair_accuracy([5, 5, 4]) == pytest.approx(2 / 3), "a tie is not in order"


def measured(worse: list[list[float]], *, same: list[float] | None = None) -> bench.Measured:
    clean = np.array([5.0, 4.0, 5.0, 5.0, 5.0])
    return bench.Measured("drawn", clean, {"noise": np.array(worse)}, {"mirrored": np.array(same or clean)})


def test_each_kind_has_its_spearman_its_share_and_its_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    ordered = [[5 - 0.5 * step, 4.0, 5.0, 5.0, 5 - step] for step in range(1, 6)]  # Overall does not count
    prompt_moves = [[5 - 0.1 * step, 4 - 0.5 * step, 5.0, 5.0, 5.0] for step in range(1, 6)]
    flat = [[5.0, 4.0, 5.0, 5.0, 5.0]] * 5
    rows = bench.report_kinds([measured(ordered), measured(prompt_moves), measured(flat)])
    out = capsys.readouterr().out
    assert "| noise | Traditional | 0.67 | 0.33 | 0.67 | 1.00, 1.00, 0.00 |" in out
    assert "| stutter | Temporal | - | - | - | left out, or too few severities fit |" in out
    assert rows == {
        "1 kinds of fault: Spearman of severity and fall, mean": "0.67 (at least 0.92)",
        "1 kinds of fault: Spearman of the lowest": "0.67, noise (at least 0.80)",
        "1 kinds of fault: share in which the right dimension falls most": "0.33 (at least 0.95)",
        "1 kinds of fault: pairs of versions in the right order": "0.67 (at least 0.93)",
    }


def test_what_moves_without_a_visible_change_is_told(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "SAME", {"mirrored": bench.SAME["mirrored"]})
    rows = bench.report_same([measured([[1.0] * 5], same=[4.0, 4.0, 5.0, 5.0, 5.0]), measured([[1.0] * 5])])
    assert rows == {
        "mirrored: mean change of a score": "0.10 (at most 0.06)",
        "mirrored: clips moving more than 0.5": "50 % (under 8 %)",
    }
    assert "| mirrored | 0.10 | 50 % | 1.00 |" in capsys.readouterr().out


def rated(scores: dict[str, float], labels: dict[str, float], generator: str = "") -> bench.Rated:
    record = VideoRecord("a.mp4", Path("a.mp4"), "a video", labels, line=2)
    result = SimpleNamespace(scores=dict.fromkeys(DIMENSIONS, 3.0) | scores, doubts={})
    return bench.Rated(record, result, generator)  # type: ignore[arg-type]


def test_scores_are_compared_with_labels_and_overall_with_their_mean(capsys: pytest.CaptureFixture[str]) -> None:
    clips = [
        rated(
            {"Traditional": 1 + step, "Temporal": 5 - step, "Overall": 1 + 0.5 * step, "Aesthetic": 4 - step},
            {"Traditional": 1 + step, "Temporal": 1 + step},
        )
        for step in range(4)
    ]
    alignment_alone = rated({"Overall": 5.0}, {"Alignment": 1.0})
    rows = bench.report_people([*clips, alignment_alone])
    values = {name: value.split(" ± ")[0].split(" (")[0] for name, value in rows.items()}
    assert values == {
        "Traditional against people, SROCC": "1.00",
        "Temporal against people, SROCC": "-1.00",
        "Alignment against people, SROCC": "undefined",
        "Overall against the mean of the other labels, SROCC": "1.00",
        "Aesthetic against the labels of Traditional, SROCC": "-1.00",
    }
    assert rows["Temporal against people, SROCC"].endswith("(at least 0.62)")
    assert "| Overall against the mean of the other labels | 4 |" in capsys.readouterr().out


def test_generators_are_compared_by_their_means_where_there_are_three() -> None:
    names = [name for name in "abc" for _ in range(5)] + ["d"]
    scores, labels = np.arange(16.0), np.repeat([3.0, 2.0, 1.0, 5.0], [5, 5, 5, 1])
    assert bench.generator_means(names, scores, labels).tolist() == [[2, 3], [7, 2], [12, 1]]
    assert len(bench.generator_means(names[:10], scores[:10], labels[:10])) == 0


def test_real_footage_is_compared_with_each_generated_clip() -> None:
    rows = bench.report_real([4.0, 2.0], [3.0, 1.0, 4.0])
    assert rows == {"real clips above generated ones in Overall, share of pairs": "0.50 (more than 0.50)"}


def test_the_other_captions_are_three_that_differ() -> None:
    prompts = ["a cat", "A  cat", "a dog", "a boat", "a tree", "rain"]
    drawn = bench.draw_captions(prompts)
    assert drawn == bench.draw_captions(prompts)
    assert all(len(set(others)) == 3 for others in drawn)
    assert not {"a cat", "A  cat"} & {*drawn[0], *drawn[1]}


# ---- the program


def test_a_run_scores_files_and_prints_what_was_asked(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(bench, "available_kinds", lambda: ("noise", "stutter"))
    monkeypatch.setattr(bench, "SAME", {name: bench.SAME[name] for name in ("every frame twice", "mirrored")})
    arguments = [str(folder / "red.mp4"), str(folder / "blue.mp4"), "--only", "clean,kinds,same", "--processes", "1"]
    assert bench.main(arguments) == 0
    out = capsys.readouterr().out
    assert "| red.mp4, 128 x 96 |" in out
    assert "| mean of 2 kinds | |" in out
    assert all(f"| {name} |" in out for name in bench.SAME)


def test_a_table_is_scored_with_its_own_prompts(folder: Path, capsys) -> None:
    assert bench.main(["--labels", str(folder / "labels.csv"), "--real", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "| Traditional | 4 |" in out
    assert "| Overall against the mean of the other labels | 4 |" in out
    assert "| real, mean of 4 |" in out
    assert "| has the highest Alignment (chance: 25 %), of all 4 clips |" in out
    assert "| clips whose Alignment is greyed, because of unknown words or no labels | 1 |" in out
    found = bench.read_rated(folder / "labels.csv", str(bench.ASSETS / "demo"))
    assert [clip.result.prompt for clip in found] == list(PROMPTS)
    assert [clip.generator for clip in found] == ["G0", "G1", "G0", "G1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clips", "{folder}/missing"], "missing: no such folder"),
        (["--clips", "{empty}"], "holds no videos"),
        (["{empty}/no.mp4", "--processes", "1", "--only", "clean"], "no.mp4"),
        (["--only", "people"], "give --labels TABLE"),
        (["--labels", "{empty}/columns.csv"], "Prompt"),
        (["--labels", "{empty}/videos.csv"], "none of its 1 row can be scored; line 2: no video “gone.mp4”"),
        (["--labels", "{empty}/nothing.csv"], "nothing.csv"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(arguments, message, folder, tmp_path, capsys) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "columns.csv").write_text("video_name,Temporal_MOS\na.mp4,3\n", encoding="utf-8")
    (empty / "videos.csv").write_text("video_name,Prompt,Temporal_MOS\ngone.mp4,a cat,3\n", encoding="utf-8")
    assert bench.main([each.format(folder=folder, empty=empty) for each in arguments]) == 2
    err = capsys.readouterr().err
    assert message.casefold() in err.casefold()
    assert "Traceback" not in err


def test_an_unknown_part_is_refused(capsys) -> None:
    with pytest.raises(SystemExit) as refused:
        bench.main(["--only", "kinds,fish"])
    assert refused.value.code == 2
    assert "fish: expected some of clean, kinds" in capsys.readouterr().err


def test_what_is_noted_takes_the_place_of_what_the_card_said_of_the_same_clips(folder: Path, monkeypatch) -> None:
    noted: dict[str, str] = {}
    known = {"2 real clips, old": "1", "1 clips, clean: mean Traditional": "9", "1 clips, of an older version": "3"}
    clean = bench.Measured("red", np.full(5, 4.0), {}, {})
    monkeypatch.setattr(bench, "measure_all", lambda *_, **__: [clean])
    monkeypatch.setattr(bench, "read_checkpoint", lambda _: SimpleNamespace(trained_on=SimpleNamespace(measured=known)))
    monkeypatch.setattr(bench, "note_measured", lambda _, rows: noted.update(rows))
    assert bench.main([str(folder / "red.mp4"), "--note", "--only", "clean"]) == 0
    assert noted == {
        "2 real clips, old": "1",
        "1 clips, clean: mean Traditional": "4.00 (at least 3.8)",
        "1 clips, clean: mean Temporal": "4.00 (at least 3.8)",
    }
