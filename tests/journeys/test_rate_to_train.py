"""From a study that people rate to a model that learned from them, all by the command line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from small_models import FRAMES

from vjepa_demo.media.video import write_video
from vjepa_demo.model.checkpoint import read_checkpoint
from vjepa_demo.schema import TrainedOn
from vjepa_demo.tasks.rate import OpenStudy, open_study

NUM_PROMPTS, CLIPS_A_PROMPT = 8, 3
SETTINGS = ("--epochs", 20, "--batch-size", 8, "--learning-rate", 0.005, "--device", "cpu", "--human")


@pytest.fixture(scope="module")
def greys(tmp_path_factory) -> Path:
    """A table of plain greys, three of each prompt. The last digit of a name is how bright the clip is, 2 to 5."""
    folder = tmp_path_factory.mktemp("greys")
    lines = ["video,prompt,generator"]
    for prompt in range(NUM_PROMPTS):
        for place in range(CLIPS_A_PROMPT):
            level = 2 + (prompt + place) % 4
            frames = torch.full((FRAMES, 3, 40, 40), 70 * (level - 2) + 20, dtype=torch.uint8)
            write_video(folder / f"{prompt}{place}-{level}.mp4", frames, frames_per_second=8, crf=1)
            lines.append(f"{prompt}{place}-{level}.mp4,prompt {prompt},Sora")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def brightness(study: OpenStudy, key: str) -> int:
    (clip,) = (clip for clip in study.study.clips if clip.key == key)
    return int(Path(clip.name).stem[-1])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def trained(run, checkpoint_folder: Path, labels: Path, out: Path) -> TrainedOn:
    """What `train` says of the model that learned from the exported table `labels`."""
    videos = labels.parent / "videos"
    places = ("train", labels, "--videos", videos, "--model", checkpoint_folder, "--out", out)
    done = run(*places, "--validation-fraction", 0.35, *SETTINGS)
    assert done.returncode == 0, done.stderr
    return read_checkpoint(out).trained_on


@pytest.fixture
def rated(run, greys, tmp_path) -> Path:
    """The tables of a study that two people rated: the brighter, the better, and Bob a point below Ann."""
    folder = tmp_path / "study"
    assert run("rate", "new", greys / "table.csv", "--out", folder, "--overall").returncode == 0
    study = open_study(folder)
    for name, bias in (("Ann", 0), ("Bob", -1)):
        rater = study.join(name)
        while items := study.upcoming(rater, count=1):
            study.rate(rater, items[0].token, {"Overall": brightness(study, items[0].clips[0]) + bias})
    said = run("rate", "stats", folder).stdout
    assert "24 clips, 2 raters, 54 answers" in said
    raters = re.findall(r"^  (Ann|Bob) +24 +(\S+) +- +\S+ +(\S+)$", said, re.MULTILINE)  # bias, and to themselves
    assert raters == [("Ann", "0.50", "0.00"), ("Bob", "-0.50", "0.00")]
    done = run("rate", "export", folder, "--out", tmp_path / "tables", "--with-videos")
    assert done.returncode == 0, done.stderr
    return tmp_path / "tables"


def test_labels_and_ratings_of_a_study_teach_a_model(run, rated, checkpoint_folder, world, tmp_path):
    labels, ratings = rows(rated / "labels.csv"), rows(rated / "ratings.csv")
    assert {row["video_name"]: float(row["Overall_MOS"]) for row in labels} == {
        row["video_name"]: int(row["video_name"][3]) - 0.5 for row in labels
    }
    assert len(labels) == NUM_PROMPTS * CLIPS_A_PROMPT
    assert len(ratings) == 2 * (len(labels) + 3)  # a tenth of the clips a second time
    assert {row["generator"] for row in ratings} == {"Sora"}
    for table in ("labels.csv", "ratings.csv"):
        learned = trained(run, checkpoint_folder, rated / table, tmp_path / table)
        assert (learned.kind, learned.description, learned.dimensions) == ("human", table, ("Overall",))
        assert learned.num_clips + learned.num_held_out == len(labels)
        assert learned.num_held_out > 0
        assert learned.srocc["Overall"] > 0.8
    judged = run(
        "evaluate", rated / "labels.csv", "--videos", rated / "videos", "--model", tmp_path / "labels.csv", "--json"
    )
    assert json.loads(judged.stdout)["dimensions"]["Overall"]["srocc"] > 0.8
    (scored,) = json.loads(run("score", world, "--prompt", "x", "--model", tmp_path / "labels.csv", "--json").stdout)
    assert scored["not_meaningful"] == dict.fromkeys(("Traditional", "Alignment", "Aesthetic", "Temporal"), "no_labels")


def test_pairs_of_a_study_teach_a_model_alone_and_beside_labels(run, greys, rated, checkpoint_folder, tmp_path):
    folder, out = tmp_path / "pairs", tmp_path / "compared"
    done = run("rate", "new", greys / "table.csv", "--out", folder, "--overall", "--pairs")
    assert f"24 clips, {NUM_PROMPTS * CLIPS_A_PROMPT} pairs to compare" in done.stdout
    study = open_study(folder)
    rater = study.join("Ann")
    while items := study.upcoming(rater, count=1):
        a, b = (brightness(study, key) for key in items[0].clips)
        study.rate(rater, items[0].token, {"Overall": "a" if a > b else "b"})
    assert run("rate", "export", folder, "--out", out, "--with-videos").returncode == 0
    answers = rows(out / "pairs.csv")
    said = run("rate", "stats", folder).stdout
    num_given = len(study.ratings()) - sum(rating.round == "warm_up" for rating in study.ratings())
    assert num_given > len(answers) == NUM_PROMPTS * CLIPS_A_PROMPT  # the second answers to a pair are no labels
    assert re.search(rf"^  Ann +{num_given} +0.00 +0.\d\d +1.00 +-$", said, re.MULTILINE)
    assert {row["Overall"] for row in answers} == {"a", "b"}
    assert all((row["video_a"][3] > row["video_b"][3]) == (row["Overall"] == "a") for row in answers)

    alone = trained(run, checkpoint_folder, out / "pairs.csv", tmp_path / "alone")
    assert (alone.num_clips, alone.pairs.num_pairs + alone.pairs.num_held_out) == (0, len(answers))
    assert alone.pairs.accuracy["Overall"] > 0.8 > alone.pairs.guess["Overall"]

    both = ("train", rated / "labels.csv", out / "pairs.csv", "--videos", out / "videos", "--model", checkpoint_folder)
    done = run(*both, "--out", tmp_path / "both", "--validation-fraction", 0.35, *SETTINGS)
    assert done.returncode == 0, done.stderr
    learned = read_checkpoint(tmp_path / "both").trained_on
    assert learned.num_clips > 0 < learned.pairs.num_pairs
    assert learned.srocc["Overall"] > 0.8 < learned.pairs.accuracy["Overall"]
