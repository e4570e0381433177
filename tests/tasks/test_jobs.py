"""Fine-tuning as a job on rented hardware; the server of hub_server.py runs the job's command in a process here."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from threading import BoundedSemaphore

import pytest
import torch
from small_models import FRAMES

from vjepa_demo.config import MAX_JOB_HOURS, TrainConfig
from vjepa_demo.data.hub import job_report, known_job
from vjepa_demo.media.video import write_video
from vjepa_demo.model.checkpoint import find_checkpoint, push_checkpoint
from vjepa_demo.schema import (
    CheckpointError,
    Hardware,
    JobError,
    JobReport,
    LabelRange,
    PairRecord,
    PassingJobError,
    RecordSet,
    RentedJob,
    VideoRecord,
)
from vjepa_demo.tasks import jobs
from vjepa_demo.tasks.jobs import JobFollower, JobOrder, start_job
from vjepa_demo.tasks.labels import check_labels
from vjepa_demo.tasks.score import load_scorer
from vjepa_demo.tasks.transfer import fetch_public_checkpoint

COUNT = 8
FOREVER = 300.0


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> RecordSet:
    """Greys, the brighter the better, of two folders that call their files the same."""
    folder = tmp_path_factory.mktemp("greys")
    clips = []
    for number in range(COUNT):
        video = folder / f"{number % 2}" / f"a clip, {number // 2}.mp4"
        video.parent.mkdir(exist_ok=True)
        write_video(video, torch.full((FRAMES, 3, 40, 40), 20 + 28 * number, dtype=torch.uint8), frames_per_second=8)
        clips.append(VideoRecord(video.name, video, f"prompt {number}", {"Overall": 1 + number / 2}, number + 2))
    return RecordSet(tuple(clips), (), LabelRange(), COUNT)


def order(data: RecordSet | str, **settings) -> JobOrder:
    usual = {"model": "me/base", "checkpoint": "me/scores", "hardware": "l4x1", "hours": 1.5}
    return JobOrder(data=data, **{**usual, **settings})


def started(wanted: JobOrder, token: str = "hf_me") -> RentedJob:
    *_, job = start_job(wanted, token=token)
    assert isinstance(job, RentedJob)
    return job


@pytest.fixture
def follow(monkeypatch) -> Iterator[object]:
    """Follows a job until it is settled."""
    monkeypatch.setattr(jobs, "JOB_POLL_SECONDS", 0.05)
    followers = []

    def follow(job: RentedJob, token: str = "hf_me") -> JobFollower:
        followers.append(JobFollower(job, token=token))
        return followers[-1]

    yield follow
    for follower in followers:
        follower.close()


def test_a_job_trains_on_what_was_uploaded_and_pushes_what_its_owner_alone_can_score_with(
    hub, records, follow, checkpoint_folder, tmp_path
):
    push_checkpoint(checkpoint_folder, "me/base", token="hf_me", private=True)
    hub.job_folder = tmp_path / "rented"
    job = started(order(records, config=TrainConfig(epochs=1, validation_fraction=0.0, seed=3), kind="human"))
    follower = follow(job)
    follower._thread.join(FOREVER)
    report = follower.report()
    assert (report.phase, report.seconds, report.problem) == ("done", 90.0, ""), "\n".join(report.lines)
    assert report.lines[-1] == f"pushed to {hub.url}/me/scores"
    assert not any("Job started" in line or "hf_me" in line for line in report.lines)
    wanted = hub.jobs[job.job_id].wanted
    assert (wanted["flavor"], wanted["timeoutSeconds"], wanted["secrets"]) == ("l4x1", 5400, {"HF_TOKEN": "hf_me"})
    assert "hf_me" not in json.dumps({**wanted, "secrets": None}) + repr(job) + repr(vars(follower)["job"])
    assert hub.repos["models/me/scores"].private
    learned = find_checkpoint("me/scores", token="hf_me").trained_on
    assert (learned.num_clips, learned.kind) == (COUNT, "human")
    assert load_scorer(str(fetch_public_checkpoint("me/scores", tmp_path, token="hf_me"))).trained_on == learned
    for token in (False, "hf_you"):
        with pytest.raises(CheckpointError, match="me/scores: no such model repository"):
            fetch_public_checkpoint("me/scores", tmp_path, token=token)


def test_the_data_set_of_a_job_holds_the_program_and_the_labels_without_the_names_of_files(hub, records, tmp_path):
    started(order(records))
    repo = hub.repos["datasets/me/scores-job"]
    assert repo.private
    packed = zipfile.ZipFile(io.BytesIO(repo.files["program.zip"])).namelist()
    assert "vjepa_demo/__main__.py" in packed
    assert not [name for name in packed if "__pycache__" in name or not name.startswith("vjepa_demo/")]
    *_, read = check_labels("me/scores-job", None, extract_to=tmp_path, token="hf_me")
    assert isinstance(read, RecordSet)
    assert [(clip.prompt, clip.labels) for clip in read.records] == [(c.prompt, c.labels) for c in records.records]
    assert [clip.video.read_bytes() for clip in read.records] == [clip.video.read_bytes() for clip in records.records]
    assert "a clip" not in repo.files["labels.csv"].decode() + "".join(repo.files)


def test_pairs_go_up_as_pairs_and_demo_goes_with_the_program(hub, records, tmp_path):
    a, b, c = records.records[:3]
    pairs = (
        PairRecord(a, b, {"Overall": "b", "Temporal": "same"}, 2, "train"),
        PairRecord(b, c, {"Overall": "a"}, 3, "validation"),
    )
    started(order(RecordSet((), (), LabelRange(), 2, pairs=pairs), model="demo"))
    *_, read = check_labels("me/scores-job", None, extract_to=tmp_path, token="hf_me")
    assert isinstance(read, RecordSet)
    assert [(p.prompt, p.answers, p.split) for p in read.pairs] == [(p.prompt, p.answers, p.split) for p in pairs]
    packed = zipfile.ZipFile(io.BytesIO(hub.repos["datasets/me/scores-job"].files["program.zip"])).namelist()
    assert "assets/demo/model.safetensors" in packed
    with pytest.raises(JobError, match="from labels or from pairs, not from both"):
        started(order(RecordSet(records.records, (), LabelRange(), 4, pairs=pairs)))


def test_a_data_set_of_the_hub_is_named_and_not_copied(hub):
    config = TrainConfig(scope="top", epochs=7, train_text=True)
    job = started(order("you/clips@v1", model="vitg", config=config, kind="procedural", label_range=(0, 100)))
    assert hub.repos["datasets/me/scores-job"].files.keys() - {".gitattributes"} == {"README.md", "program.zip"}
    command = hub.jobs[job.job_id].wanted["command"]
    train = command[command.index("train") :]
    assert train[:7] == ["train", "you/clips@v1", "--out", "checkpoint", "--push", "me/scores", "--model"]
    assert train[7:11] == ["vitg", "--scope", "top", "--train-text"]
    assert train[-4:] == ["--procedural", "--label-range", "0", "100"]
    packages = [command[place + 1] for place, each in enumerate(command) if each == "--with"]
    assert any(each.startswith("torch>=") for each in packages)
    assert not any("#" in each or each.startswith(("gradio", "plotly")) for each in packages)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hardware": "--help"}, "'--help' is no hardware"),
        ({"hours": 0}, "the time limit is 0 hours"),
        ({"hours": MAX_JOB_HOURS + 1}, "the time limit is 25 hours"),
        ({"data": "../clips"}, "'../clips' is no data set on the Hub"),
        ({"checkpoint": "scores"}, "'scores' is no name of a repository"),
        ({"checkpoint": "you/scores"}, "you/scores"),
    ],
)
def test_an_order_that_cannot_be_uploads_nothing(hub, settings, message):
    with pytest.raises((JobError, CheckpointError), match=message):
        started(order(**{"data": "you/clips", **settings}))
    assert not [each for each in hub.requests if "/commit/" in each or "/api/jobs/" in each]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "choose another"),
        (402, r"no credit left: add some on \S+/settings/billing"),
        (403, "may not run jobs: use one with write access and the right to run jobs"),
        (429, "too many requests"),
        (503, "answered with status 503"),
    ],
)
def test_a_refusal_says_what_to_do_and_not_the_token(hub, status, message):
    hub.job_status = status
    with pytest.raises(JobError, match=message) as caught:
        started(order("you/clips"))
    assert "hf_me" not in str(caught.value)
    with pytest.raises(JobError, match="does not know this token"):
        started(order("you/clips"), token="hf_secret")
    with pytest.raises(JobError, match="the token is empty or has a space in it"):
        started(order("you/clips"), token="hf me")


def test_a_job_is_cancelled_by_its_owner_alone(hub, follow):
    job = started(order("you/clips"))
    assert job.url == f"{hub.url}/jobs/me/{job.job_id}"
    stranger = follow(job, "hf_you")
    with pytest.raises(JobError, match="belongs to another account"):
        stranger.cancel()
    follower = follow(job)
    follower.cancel()
    follower._thread.join(FOREVER)
    assert (follower.report().phase, follower.report().problem) == ("cancelled", "")


def test_an_outage_of_the_hub_is_told_until_it_is_over_or_lasts_too_long(hub, follow, monkeypatch):
    job = started(order("you/clips"))
    hub.jobs[job.job_id].stage = "COMPLETED"
    hub.failing = 503

    def recover(*arguments, **settings):
        hub.failing = None
        return job_report(*arguments, **settings)

    answers = iter([job_report, job_report, recover])
    monkeypatch.setattr(jobs, "job_report", lambda *arguments, **settings: next(answers)(*arguments, **settings))
    follower = follow(job)
    follower._thread.join(FOREVER)
    assert follower.report() == JobReport("done", (), 90.0)
    hub.failing, answers = 503, iter([job_report] * 2)
    monkeypatch.setattr(jobs, "MAX_FAILURES", 2)
    follower = follow(job)
    follower._thread.join(FOREVER)
    assert (follower.report().phase, "status 503" in follower.report().problem) == ("waiting", True)


def test_what_the_hub_refuses_is_asked_once_and_too_many_requests_again(hub, follow):
    job = started(order("you/clips"))
    asked = len(hub.requests)
    for token, said in (("hf_secret", "does not know this token"), ("hf_you", "belongs to another account")):
        follower = follow(job, token)
        follower._thread.join(FOREVER)
        assert (follower.report().phase, said in follower.report().problem) == ("waiting", True)
    assert len(hub.requests) == asked + 2
    hub.failing = 429
    with pytest.raises(PassingJobError, match="too many requests"):
        job_report(job, token="hf_me")


def test_only_so_many_jobs_are_followed_at_once_and_a_place_comes_back(hub, follow, monkeypatch):
    monkeypatch.setattr(JobFollower, "_places", BoundedSemaphore(1))
    job = started(order("you/clips"))
    first = follow(job)
    second = follow(job)
    assert "follows as many jobs as it can" in second.report().problem
    second.close()
    second.cancel()  # the Hub is asked for that all the same
    first._thread.join(FOREVER)
    assert first.report().phase == "cancelled"
    third = follow(job)
    third._thread.join(FOREVER)
    assert third.report() == JobReport("cancelled", seconds=third.report().seconds)


def test_what_a_job_prints_is_shown_without_colours_bars_and_the_token(hub):
    job = started(order("you/clips"))
    server_job = hub.jobs[job.job_id]
    server_job.stage = "RUNNING"
    server_job.lines += ["\x1b[32mgreen\x1b[0m", "10%\r20%\rdone", "token hf_me", "x" * 10_000, *map(str, range(196))]
    report = job_report(job, token="hf_me")
    assert report.lines[:4] == ("green", "done", "token …", "x" * 400)
    assert len(report.lines) == 200
    server_job.stage, server_job.lines = "COMPLETED", None  # the log is gone
    report = job_report(job, token="hf_me")
    assert (report.phase, report.lines, "does not give the log" in report.problem) == ("done", (), True)


def test_the_hardware_with_one_gpu_or_none_has_the_hubs_price(hub):
    assert jobs.list_hardware() == (
        Hardware("cpu-basic", "CPU Basic", "30 GB", 0.000167, "minute"),
        Hardware("l4x1", "1x Nvidia L4", "24 GB", 0.013333, "minute"),
    )


@pytest.mark.parametrize("parts", [("..", "1", "me/x"), ("me", "a/b", "me/x"), ("me", "1", "x"), ("me", "", "me/x")])
def test_a_kept_job_that_cannot_be_is_not_asked_for(parts):
    with pytest.raises(JobError, match="there is no such job"):
        known_job(*parts)
