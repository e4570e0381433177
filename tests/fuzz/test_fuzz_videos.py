"""Three hundred damaged videos: each ends in a score or in one clear error, and leaves nothing behind.

The test takes every fifth of them. All are tried, in some minutes, by

    PYTHONPATH=.:tests python tests/fuzz/test_fuzz_videos.py

which also counts the scored files of which FFmpeg's program reads less than half of the frames.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest
from fuzz.mutate import mutants
from small_models import TRAINED_ON, ffmpeg, write_checkpoint

from vjepa_demo.config import DECODE_GB_VARIABLE, DECODE_SECONDS_VARIABLE
from vjepa_demo.media import sandbox
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.schema import DemoError, VideoError, VideoScores
from vjepa_demo.tasks.score import Scorer

PROMPT, SEED, MUTANTS = "a test picture", 20, 50  # of each kind
SOME = 5  # prime to the number of kinds of damage, so that each of them meets each kind of file
# That a file may take. The time is that of the processor: on the clock, where other programs may run too, ten times as
# much. The process that decodes is ended there, with an error.
MAX_SECONDS, CLOCK_SECONDS, MAX_GB = 30, 300, 2
FRAMES = 24  # of each clip: one second
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=24:duration=1")
SOUND = ("-f", "lavfi", "-i", "sine=duration=1")
KINDS: dict[str, tuple[str, ...]] = {
    "mp4": (*SOUND, "-c:v", "libx264", "-c:a", "aac", "-g", "12", "-movflags", "+faststart"),
    "mkv": (*SOUND, "-c:v", "libx264", "-c:a", "aac", "-g", "12"),
    "webm": ("-c:v", "libvpx", "-cpu-used", "8", "-deadline", "realtime"),
    "avi": (*SOUND, "-c:v", "mpeg4", "-c:a", "libmp3lame"),
    "ts": ("-c:v", "libx264", "-g", "12"),
    "gif": (),
}
REFUSALS = {  # by what an error says
    "cut off": "is cut off",
    "damaged": "cannot be read as a video|frames can be read without an error|holds no frames",
    "no video": "has no video stream|is a still image|text file|is empty",
    "too large or narrow": "larger than 8K|one side may be",
    "too slow or heavy": "takes longer than|takes more than|take more than",
}


def write_damaged(folder: Path) -> list[Path]:
    """The damaged copies of a clip of each kind."""
    paths = []
    for kind, options in KINDS.items():
        ffmpeg(*PICTURE, *options, folder / f"clip.{kind}")
        for number, (_, data) in enumerate(mutants((folder / f"clip.{kind}").read_bytes(), SEED, MUTANTS)):
            paths.append(folder / f"{number:03}.{kind}")
            paths[-1].write_bytes(data)
    return paths


def scored(scorer: Scorer, paths: Iterable[Path]) -> list[VideoScores | DemoError]:
    """What comes of each file, one after another; none takes more than `MAX_SECONDS` of the processor."""
    outcomes: list[VideoScores | DemoError] = []
    for path in paths:
        begin = decoding_seconds()
        outcomes += scorer.score_all([(path, PROMPT)])
        assert decoding_seconds() - begin < MAX_SECONDS, path
    return outcomes


def decoding_seconds() -> float:
    """Processor time of all processes that decoded and have ended."""
    process = sandbox._zygote._process
    if process is None:
        return 0.0
    used = psutil.Process(process.pid).cpu_times()
    return used.children_user + used.children_system


def said(outcome: VideoScores | DemoError) -> tuple[object, ...]:
    """What of an outcome has to be the same each time."""
    if isinstance(outcome, DemoError):
        return type(outcome), str(outcome)
    return tuple(outcome.scores.items()), outcome.frame_seconds, outcome.notes


def refusal(error: DemoError) -> str:
    return next((kind for kind, words in REFUSALS.items() if re.search(words, str(error))), f"other: {error}")


def summary(outcomes: Iterable[VideoScores | DemoError]) -> str:
    outcomes = list(outcomes)
    scores = [outcome for outcome in outcomes if isinstance(outcome, VideoScores)]
    kinds = Counter(refusal(outcome) for outcome in outcomes if isinstance(outcome, DemoError))
    with_note = sum(bool(outcome.notes) for outcome in scores)
    refusals = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return (
        f"{len(outcomes)} damaged videos: {len(scores)} scores ({with_note} with a note), "
        f"{kinds.total()} refusals ({refusals})"
    )


def running_programs() -> set[int]:
    """The ids of FFmpeg's programs among the processes that this one started, and that these started (Linux)."""
    found, new = set(), {Path("/proc/self")}
    while new:
        listed = [children.read_text() for folder in new for children in folder.glob("task/*/children")]
        ids = {int(number) for line in listed for number in line.split()} - found
        found |= ids
        new = {Path(f"/proc/{number}") for number in ids}
    names = {number: Path(f"/proc/{number}/cmdline") for number in found}
    return {number for number, name in names.items() if name.exists() and name.read_bytes().startswith(b"ff")}


def small_scorer(checkpoint: Path) -> Scorer:
    """One that remembers nothing: each file is decoded each time."""
    model = load_checkpoint(read_checkpoint(checkpoint), device="cpu")
    return Scorer("small", model, TRAINED_ON, cache=FeatureCache(memory_bytes=0))


def checked(scorer: Scorer, paths: list[Path], temporary: Path) -> list[VideoScores | DemoError]:
    """What comes of damaged files, each of which is tried twice; `temporary` is where temporary files are made.

    The processes that decode them have limits of time on the clock and of memory, which would end in an error of their
    own."""
    outcomes = scored(scorer, paths)
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, DemoError):
            assert type(outcome) is VideoError, outcome
            assert path.name in str(outcome)
            assert refusal(outcome) in REFUSALS
            assert refusal(outcome) != "too slow or heavy", outcome
            assert not re.search("Traceback|\\n", str(outcome))
            assert str(path.parent) not in str(outcome)
    assert [said(outcome) for outcome in scored(scorer, paths)] == [said(outcome) for outcome in outcomes]
    assert list(temporary.iterdir()) == []
    assert running_programs() == set()
    return outcomes


@pytest.mark.skipif(sys.platform != "linux", reason="no process of its own decodes here")
def test_a_damaged_video_gets_a_score_or_one_clear_error(checkpoint_folder, tmp_path, monkeypatch, caplog, capsys):
    scorer, temporary = small_scorer(checkpoint_folder), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv(DECODE_SECONDS_VARIABLE, str(CLOCK_SECONDS))
    monkeypatch.setenv(DECODE_GB_VARIABLE, str(MAX_GB))
    paths = write_damaged(tmp_path)
    whole = scored(scorer, [tmp_path / f"clip.{kind}" for kind in KINDS])
    assert [outcome.notes for outcome in whole if isinstance(outcome, VideoScores)] == [()] * len(KINDS)
    outcomes = checked(scorer, paths[::SOME], temporary)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]  # tracebacks of a decoder
    with capsys.disabled():
        print(f"\n{summary(outcomes)}")


def num_frames_read(path: Path) -> int:
    """How many frames of a file FFmpeg's program reads."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-progress", "-", "-i", f"file:{path}", "-f", "null", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLOCK_SECONDS, check=False)
    return int((re.findall(r"^frame=(\d+)", done.stdout, re.MULTILINE) or ["0"])[-1])


def main() -> None:
    os.environ |= {DECODE_SECONDS_VARIABLE: str(CLOCK_SECONDS), DECODE_GB_VARIABLE: str(MAX_GB)}
    folder = Path(tempfile.mkdtemp())
    try:
        paths, scorer = write_damaged(folder), small_scorer(write_checkpoint(folder / "checkpoint"))
        (folder / "temporary").mkdir()
        tempfile.tempdir = str(folder / "temporary")
        scored(scorer, [folder / f"clip.{kind}" for kind in KINDS])
        outcomes = checked(scorer, paths, folder / "temporary")
        print(summary(outcomes))
        results = {path: each for path, each in zip(paths, outcomes, strict=True) if isinstance(each, VideoScores)}
        poor = [path for path in results if num_frames_read(path) < FRAMES / 2]
        noted = sum(bool(results[path].notes) for path in poor)
        print(
            f"{len(poor)} scores are for files of which FFmpeg reads less than half of the frames, {noted} with a note"
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
