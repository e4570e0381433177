"""Fine-tuning as a job on the Hub's rented hardware: data and program go up, `train --push` runs there.

What a job needs lies in a private data set of the person's, called like the checkpoint with "-job" behind it: the
program as it runs here, so that the job trains with the same code wherever that came from (a private Space, a clone),
and the labels with their clips, unless these are a data set on the Hub already. The token is a secret of the job, never
one of its arguments. Loads no torch.
"""

from __future__ import annotations

import io
import re
import tempfile
import threading
import zipfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from vjepa_demo.config import (
    ASSETS,
    HUB_LIBRARY,
    JOB_POLL_SECONDS,
    MAX_FOLLOWED_JOBS,
    MAX_JOB_HOURS,
    PROJECT_ROOT,
    SCORE_MAX,
    SCORE_MIN,
    VIDEO_SUFFIXES,
    TrainConfig,
)
from vjepa_demo.data.hub import (
    account_of,
    cancel_job,
    job_report,
    known_job,
    list_hardware,
    make_repo,
    parse_repo,
    run_job,
    upload_files,
)
from vjepa_demo.data.records import LABELS_FILE, write_labels, write_pairs
from vjepa_demo.schema import (
    DemoError,
    JobError,
    JobReport,
    LabelSource,
    PassingJobError,
    RecordSet,
    RentedJob,
    UploadingReport,
    VideoRecord,
)
from vjepa_demo.wording import clips_and_pairs, listed

__all__ = ["JobFollower", "JobOrder", "known_job", "list_hardware", "start_job"]

PROGRAM_FILE, PAIRS_FILE, CARD_FILE, VIDEOS_FOLDER = "program.zip", "pairs.csv", "README.md", "videos"
OUT_FOLDER = "checkpoint"  # on the rented machine
MAX_FAILURES = 60  # in a row, after which a job is followed no more
TOO_MANY_FOLLOWED = (
    "this page follows as many jobs as it can: the job goes on, see it on the Hub, or look at it again in a few minutes"
)
PAGE_ALONE = ("gradio", "plotly")  # packages that `train` does without
# The image has no FFmpeg, which torchcodec decodes with. No argument passes through the shell.
SET_UP = (
    "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; "
    'apt-get -qq install -y --no-install-recommends ffmpeg > /dev/null; exec uv run "$@"'
)
START = """
import os, sys, tempfile, zipfile
from huggingface_hub import hf_hub_download
program = hf_hub_download(sys.argv[1], sys.argv[2], repo_type="dataset")
os.chdir(tempfile.mkdtemp())
zipfile.ZipFile(program).extractall()
os.environ["PYTHONPATH"] = os.getcwd()
os.execv(sys.executable, [sys.executable, "-m", "vjepa_demo", *sys.argv[3:]])
"""


@dataclass(frozen=True)
class JobOrder:
    """What is to be trained: `model` (a name, or `owner/name` on the Hub) on `data`, labelled clips of this machine or
    `owner/name` of a data set on the Hub, into the checkpoint `checkpoint` (`owner/name`).

    It is ended after `hours`. `label_range` is that of a data set on the Hub, None where it is to be detected.
    """

    model: str
    data: RecordSet | str
    checkpoint: str
    hardware: str
    hours: float
    config: TrainConfig = field(default_factory=TrainConfig)
    kind: LabelSource = "undeclared"
    label_range: tuple[float, float] | None = None


def start_job(order: JobOrder, *, token: str) -> Generator[UploadingReport | RentedJob, None, None]:
    """Upload what `order` needs and start its job, which the account of `token` pays for; an `UploadingReport` now and
    then, and last the job. Closing the generator before its end starts none.

    Checkpoint and uploads are private. That the account may write the checkpoint is known before anything is uploaded.

    Raises:
        JobError: if a value of the order is not allowed, the token may not run jobs, or there is no credit.
        CheckpointError: if the account may not write to the checkpoint's repository.
        RecordError: if the data set is none, or cannot be uploaded.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", order.hardware):
        raise JobError(f"{order.hardware[:60]!r} is no hardware; choose one of the list")
    if not 0 < order.hours <= MAX_JOB_HOURS:
        raise JobError(
            f"the time limit is {order.hours:g} hours; more than 0 and at most {MAX_JOB_HOURS:g} were expected"
        )
    if isinstance(order.data, str) and parse_repo(order.data, "dataset") is None:
        raise JobError(f"{order.data[:60]!r} is no data set on the Hub; owner/name was expected, such as me/my-clips")
    owner = account_of(token)
    make_repo(order.checkpoint, token=token, private=True)
    needs = f"{order.checkpoint}-job"
    with tempfile.TemporaryDirectory() as folder:
        files = {PROGRAM_FILE: _program(with_demo=order.model == "demo"), **_data_files(order, Path(folder))}
        card = _card(order, needs)
        uploads = upload_files(
            needs,
            {CARD_FILE: card.encode(), **files},
            token=token,
            private=True,
            message=f"What the job that trains {order.checkpoint} needs",
            is_ours=_is_ours,
            kind="dataset",
        )
        with closing(uploads):
            yield from (report for report in uploads if isinstance(report, UploadingReport))
    yield run_job(
        job_command(order),
        owner=owner,
        checkpoint=order.checkpoint,
        hardware=order.hardware,
        max_seconds=round(3600 * order.hours),
        secrets={"HF_TOKEN": token},
        token=token,
    )


def job_command(order: JobOrder) -> list[str]:
    """What the rented machine runs: FFmpeg and the packages are installed, the program fetched, and `train` started."""
    lines = (PROJECT_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = [line.partition("#")[0].strip() for line in lines]
    wanted = [package for package in packages if package and not package.startswith(PAGE_ALONE)]
    needs, config = f"{order.checkpoint}-job", order.config
    labels, label_range = (order.data, order.label_range) if isinstance(order.data, str) else (needs, None)
    if isinstance(order.data, RecordSet) and order.data.records:
        label_range = (SCORE_MIN, SCORE_MAX)  # as `write_labels` writes
    train: list[object] = ["train", labels, "--out", OUT_FOLDER, "--push", order.checkpoint, "--model", order.model]
    train += ["--scope", config.scope, *(["--train-text"] if config.train_text else [])]
    for name in ("epochs", "batch_size", "learning_rate", "accumulate", "patience", "validation_fraction", "seed"):
        train += [f"--{name.replace('_', '-')}", getattr(config, name)]
    train += [] if order.kind == "undeclared" else [f"--{order.kind}"]
    train += [] if label_range is None else ["--label-range", *label_range]
    run = ["--no-project", "--python", "3.12", *(part for package in wanted for part in ("--with", package))]
    return ["bash", "-c", SET_UP, "job", *run, "python", "-c", START, needs, PROGRAM_FILE, *map(str, train)]


def _program(*, with_demo: bool) -> bytes:
    """A zip of this program, as it runs here, with the `demo` model where that is where the training starts from."""
    packed = io.BytesIO()
    folders = [PROJECT_ROOT / "vjepa_demo", *([ASSETS / "demo"] if with_demo else [])]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
            if "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(PROJECT_ROOT))
    return packed.getvalue()


def _data_files(order: JobOrder, folder: Path) -> dict[str, Path | bytes]:
    """The table and the clips of `order`, by their path in the data set; none where the data is on the Hub already.

    Clips are numbered: nobody needs their names, and the table tells them apart by these.

    Raises:
        JobError: if there are both labels and pairs.
    """
    if isinstance(order.data, str):
        return {}
    data = order.data
    if data.records and data.pairs:
        raise JobError("a job learns from labels or from pairs, not from both: give one table")
    videos = list(dict.fromkeys(clip.video for clip in data.clips))
    names = {video: f"{number:06d}{video.suffix.lower()}" for number, video in enumerate(videos)}

    def renamed(clip: VideoRecord) -> VideoRecord:
        return replace(clip, name=names[clip.video])

    table = folder / (PAIRS_FILE if data.pairs else LABELS_FILE)
    if data.pairs:
        write_pairs(table, [replace(pair, a=renamed(pair.a), b=renamed(pair.b)) for pair in data.pairs])
    else:
        write_labels(table, map(renamed, data.records))
    return {table.name: table, **{f"{VIDEOS_FOLDER}/{name}": video for video, name in names.items()}}


def _is_ours(path: str) -> bool:
    """Whether an earlier order has written `path`, within its data set."""
    is_clip = path.startswith(f"{VIDEOS_FOLDER}/") and path.lower().endswith(VIDEO_SUFFIXES)
    return is_clip or path in (CARD_FILE, PROGRAM_FILE, LABELS_FILE, PAIRS_FILE)


def _card(order: JobOrder, needs: str) -> str:
    """The README of the data set `needs`, in the Hub's format."""
    if isinstance(order.data, str):
        given, tables = f"The labels are in the data set {order.data}.", []
    else:
        given = f"{clips_and_pairs(len(order.data.records), len(order.data.pairs))}, with their videos."
        tables = [f"`{PAIRS_FILE if order.data.pairs else LABELS_FILE}`", f"`{VIDEOS_FOLDER}/`"]
    return f"""---
library_name: {HUB_LIBRARY}
tags: [video-quality-assessment]
viewer: false
---
# What a job needs to train {order.checkpoint}

{given} The job reads {listed([*tables, f"`{PROGRAM_FILE}`"])}, which is the program that runs on the rented machine.
When the job has ended, nothing needs {needs} any more: you can delete it.
"""


class JobFollower:
    """Follows a job in the background, so that whoever asks how far it is gets an answer at once.

    The token is kept in memory until the follower is closed. The job goes on without it. The Hub is asked no more once
    it refuses the token or does not know the job, or was not there for `MAX_FAILURES` times in a row. Past
    `MAX_FOLLOWED_JOBS` at the same time the Hub is not asked at all. The `problem` of the report says so.
    """

    _places = threading.BoundedSemaphore(MAX_FOLLOWED_JOBS)

    def __init__(self, job: RentedJob, *, token: str) -> None:
        self.job, self._token = job, token
        self._report = JobReport("waiting")
        self._closed, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="job", daemon=True)
        if self._places.acquire(blocking=False):
            self._thread.start()
        else:  # no error: whoever has just started a job must learn its address
            self._report = JobReport("waiting", problem=TOO_MANY_FOLLOWED)

    def report(self) -> JobReport:
        """The newest that is known."""
        return self._report

    @property
    def token(self) -> str:
        """Who started the job, or may see it: may also read its checkpoint."""
        return self._token

    def cancel(self) -> None:
        """End the job.

        Raises:
            JobError: if the Hub refuses, or does not answer.
        """
        cancel_job(self.job, token=self._token)
        self._wake.set()

    def close(self) -> None:
        """Stop following."""
        self._closed.set()
        self._wake.set()

    def _run(self) -> None:
        try:
            self._follow()
        except DemoError as error:  # the same question would get the same answer
            self._report = replace(self._report, problem=str(error))
        finally:
            self._places.release()

    def _follow(self) -> None:
        failures = 0
        while not self._closed.is_set() and not self._report.is_settled and failures < MAX_FAILURES:
            self._wake.clear()
            try:
                report = job_report(self.job, token=self._token)
                self._report = replace(report, lines=report.lines or self._report.lines)
                failures = 0
            except PassingJobError as error:  # a network that is down comes back
                failures += 1
                self._report = replace(self._report, problem=str(error))
            if not self._closed.is_set() and not self._report.is_settled:
                self._wake.wait(JOB_POLL_SECONDS)
