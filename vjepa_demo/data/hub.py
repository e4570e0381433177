"""The Hugging Face Hub: checkpoints and labelled data sets go up and down, and jobs run there.

Nothing fetched is run or unpickled.

The server is $HF_ENDPOINT, read at each call; HF_HUB_OFFLINE=1 forbids all calls. A `token` is a person's own, False
for nobody's, or None for the account that this machine is signed in with, if any. A page for strangers must never pass
None: they could read what the machine's owner may read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import Literal

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub import errors as hub_errors
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import filter_repo_objects

from vjepa_demo.config import HUB_LIBRARY, HUB_TIMEOUT_SECONDS, JOB_IMAGE, JOB_LINES
from vjepa_demo.schema import (
    CheckpointError,
    DemoError,
    Hardware,
    JobError,
    JobPhase,
    JobReport,
    PassingJobError,
    RecordError,
    RentedJob,
    UploadingReport,
)
from vjepa_demo.wording import bytes_text

Token = str | Literal[False] | None
Kind = Literal["model", "dataset"]

REPO_NAME = re.compile(r"(?P<id>\w[\w.-]{0,95}/\w[\w.-]{0,95})(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?", re.ASCII)
ERRORS: Mapping[Kind, type[DemoError]] = {"model": CheckpointError, "dataset": RecordError}
WRITTEN: Mapping[Kind, str] = {"model": "checkpoint", "dataset": "data set"}  # what this program puts into each kind
DOWNLOAD_THREADS = 8
UPLOADED_AT_ONCE = 8  # files, after which an upload says how far it is
EXPLAINED = (
    *(hub_errors.HTTPError, hub_errors.HFValidationError, OSError),
    *(JSONDecodeError, UnicodeDecodeError),  # of an answer; any other ValueError is a bug
)


@dataclass(frozen=True)
class HubRepo:
    """A repository `owner/name`; `revision` is a branch, tag or commit, and None the main branch."""

    repo_id: str
    kind: Kind = "model"
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"{_endpoint()}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo_id}"


@dataclass(frozen=True)
class DatasetListing:
    """The files of a dataset repository at one commit: the path and the size in bytes of each."""

    repo: HubRepo
    commit: str
    files: Mapping[str, int]


def parse_repo(name: str, kind: Kind = "model") -> HubRepo | None:
    """The repository called `owner/name` or `owner/name@revision`; None if `name` is neither."""
    match = REPO_NAME.fullmatch(name)
    if match is None or ".." in name or "--" in match["id"]:
        return None
    return HubRepo(match["id"], kind, match["revision"])


def download_snapshot(
    repo: HubRepo, patterns: Collection[str], *, token: Token, max_bytes: int, cache: Path | None = None
) -> Path:
    """The folder with the files of `repo` that match one of `patterns`; it lies in `cache`, by default that of the Hub
    on this machine, to be read only.

    The Hub is asked each time whether this token may read them. If it cannot be reached, an earlier download in this
    machine's own cache is used, for its own account alone (`token` None): whoever read it before may have been allowed
    more than others are. What strangers ask for belongs in a `cache` of theirs.

    Raises:
        CheckpointError: if the files cannot be had, or have more than `max_bytes`.
    """
    fetch = partial(
        snapshot_download, repo.repo_id, revision=repo.revision, allow_patterns=list(patterns), cache_dir=cache
    )
    with _explained(repo):
        api = _api(repo, token)
        try:
            info = api.model_info(
                repo.repo_id, revision=repo.revision, timeout=HUB_TIMEOUT_SECONDS, files_metadata=True
            )
            api.auth_check(repo.repo_id)  # else the cache would give everybody what one account may read
        except (hub_errors.OfflineModeIsEnabled, hub_errors.HTTPError) as error:
            if isinstance(error, hub_errors.HfHubHTTPError) and error.response.status_code < 500:
                raise  # it answered
            if cache is not None or token is not None:
                raise
            try:
                return Path(fetch(local_files_only=True))
            except hub_errors.LocalEntryNotFoundError:
                raise error from None
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        wanted = filter_repo_objects(sizes, allow_patterns=list(patterns))
        _check_size(repo, (sizes[name] for name in wanted), max_bytes)
        return Path(fetch(token=token, endpoint=api.endpoint, library_name=HUB_LIBRARY))


def check_available(name: str, revision: str | None) -> None:
    """Ask the Hub once whether it has the model `name`, `owner/name`, unless an earlier download of it is here.

    Raises:
        CheckpointError: if it has none, or cannot be reached.
    """
    repo = parse_repo(name)
    if repo is None:
        return  # what loads it says what is wrong with the name
    repo = replace(repo, revision=revision)
    if not isinstance(try_to_load_from_cache(repo.repo_id, "config.json", revision=revision), str):
        with _explained(repo):
            _api(repo, None).model_info(repo.repo_id, revision=revision, timeout=HUB_TIMEOUT_SECONDS)


def list_dataset(repo: HubRepo, *, token: Token) -> DatasetListing:
    """The files of the dataset repository `repo`, as they are now; none is fetched.

    Raises:
        RecordError: if the repository cannot be read.
    """
    with _explained(repo):
        api = _api(repo, token)
        info = api.dataset_info(repo.repo_id, revision=repo.revision, timeout=HUB_TIMEOUT_SECONDS)
        tree = api.list_repo_tree(repo.repo_id, repo_type="dataset", revision=info.sha, recursive=True)
        return DatasetListing(
            repo, str(info.sha), {file.path: file.size for file in tree if isinstance(file, RepoFile)}
        )


def fetch_files(
    listing: DatasetListing, names: Iterable[str], folder: str | Path, *, token: Token, max_bytes: int
) -> Iterator[Path]:
    """Fetch the files `names` of the listed commit into `folder`, under the paths they have in the repository.

    Yields the path of each file in `folder` once the file is whole; closing the iterator ends the download.

    Raises:
        RecordError: if a file cannot be had, or all files together have more than `max_bytes`.
    """
    repo, names = listing.repo, list(dict.fromkeys(names))
    if missing := [name for name in names if name not in listing.files]:
        raise RecordError(f"{repo} has no file {missing[0]} at the commit {listing.commit[:12]}")
    _check_size(repo, (listing.files[name] for name in names), max_bytes)
    pool = ThreadPoolExecutor(DOWNLOAD_THREADS)
    try:
        with _explained(repo):
            download = partial(
                _api(repo, token).hf_hub_download,
                repo.repo_id,
                repo_type="dataset",
                revision=listing.commit,
                local_dir=folder,
            )
            for path in pool.map(download, names):
                yield Path(path)
    finally:
        pool.shutdown(cancel_futures=True)


def make_repo(repo_id: str, *, token: Token, private: bool, kind: Kind = "model") -> set[str]:
    """The files in the repository `repo_id`, which is made, private or public, if it does not exist.

    Raises:
        CheckpointError, of a data set RecordError: as `upload_files`.
    """
    repo = parse_repo(repo_id, kind)
    if repo is None or repo.revision is not None:
        example = {"model": "me/my-video-scores", "dataset": "me/my-ratings"}[kind]
        raise ERRORS[kind](f"{repo_id!r} is no name of a repository; owner/name was expected, such as {example}")
    with _explained(repo):
        api = _api(repo, token)
        try:
            ask = api.model_info if kind == "model" else api.dataset_info
            info = ask(repo_id, timeout=HUB_TIMEOUT_SECONDS)
        except hub_errors.RepositoryNotFoundError as error:
            if isinstance(error, hub_errors.GatedRepoError):
                raise
            api.create_repo(repo_id, repo_type=kind, private=private)
            return set()
        there = {file.rfilename for file in info.siblings or ()}
        library = info.card_data.get("library_name") if info.card_data else None
        if there - {".gitattributes", "README.md"} and library != HUB_LIBRARY:
            raise ERRORS[kind](
                f"{repo} holds something other than a {WRITTEN[kind]} of this program: choose another name"
            )
        if private and not info.private:
            raise ERRORS[kind](f"{repo} exists already and is public: choose another name, or upload publicly")
        return there


def upload_files(
    repo_id: str,
    files: Mapping[str, Path | bytes],
    *,
    token: Token,
    private: bool,
    message: str,
    is_ours: Callable[[str], bool],
    kind: Kind = "model",
) -> Generator[UploadingReport | str, None, None]:
    """Commit `files` (path in the repository to content) to the repository `repo_id` of that `kind`.

    Yields an `UploadingReport` now and then, and last the address of the repository's page. The repository is made,
    private or public, if it does not exist. The one commit also deletes the files of an earlier upload that `files`
    lacks: those there for which `is_ours` is true. Closing the iterator before its end commits nothing.

    Raises:
        CheckpointError, of a data set RecordError: if the repository was not written by this program, is public
            although `private` is asked for, or the account may not write to it.
    """
    there = make_repo(repo_id, token=token, private=private, kind=kind)
    repo = HubRepo(repo_id, kind)
    with _explained(repo):
        api = _api(repo, token)
        deletions = [CommitOperationDelete(path) for path in sorted(there - files.keys()) if is_ours(path)]
        additions = [CommitOperationAdd(path, content) for path, content in files.items()]
        for begin in range(0, len(additions), UPLOADED_AT_ONCE):  # nobody sees these until the commit names them
            some = additions[begin : begin + UPLOADED_AT_ONCE]
            try:
                api.preupload_lfs_files(repo_id, some, repo_type=kind)
            except RuntimeError as error:  # which huggingface_hub makes of whatever went wrong with one file
                if isinstance(error.__cause__, EXPLAINED):
                    raise error.__cause__ from error
                raise ERRORS[kind](f"{repo}: a file did not arrive: check the network, and push again") from error
            yield UploadingReport(begin + len(some), len(additions))
        api.create_commit(repo_id, [*deletions, *additions], commit_message=message, repo_type=kind)
    yield repo.url


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _api(repo: HubRepo | None, token: Token) -> HfApi:
    """What speaks to the Hub for `token`, about a repository or about jobs."""
    if isinstance(token, str) and not re.fullmatch(r"[!-~]+", token):  # httpx would print it
        kind = JobError if repo is None else ERRORS[repo.kind]
        raise kind("the token is empty or has a space in it: copy it again from the Hub's settings")
    return HfApi(endpoint=_endpoint(), token=token, library_name=HUB_LIBRARY)


def _check_size(repo: HubRepo, sizes: Iterable[int], max_bytes: int) -> None:
    total = sum(sizes)
    if total > max_bytes:
        raise ERRORS[repo.kind](
            f"{repo}: {bytes_text(total)} would be fetched; at most {bytes_text(max_bytes)} are allowed"
        )


@contextmanager
def _explained(repo: HubRepo) -> Iterator[None]:
    """Turns errors of the Hub and the network into messages that say what to do.

    Their own texts are never shown, because a token may stand in them.
    """
    try:
        yield
    except EXPLAINED as error:
        raise ERRORS[repo.kind](_explanation(error, repo)) from error


def _explanation(error: Exception, repo: HubRepo) -> str:
    host = _endpoint().partition("//")[2]
    match error:
        case hub_errors.OfflineModeIsEnabled():
            return f"{repo} is not on this machine, and HF_HUB_OFFLINE forbids fetching it"
        case hub_errors.GatedRepoError():
            return f"{repo} is gated: ask for access on {repo.url}, then sign in"
        case hub_errors.RepositoryNotFoundError():
            return (
                f"{repo}: no such {repo.kind} repository on {host}, or it is private: check the name, or sign in to an "
                "account that may read it"
            )
        case hub_errors.RevisionNotFoundError():
            return f"{repo}: no such revision; the branches and tags are on {repo.url}"
        case hub_errors.EntryNotFoundError():
            return f"{repo} has lost a file since it was listed: try again"
        case hub_errors.HfHubHTTPError():
            status = error.response.status_code
            reasons = {
                401: f"{host} does not know this account: sign in again",
                403: "this account may not do that: ask its owner, or use a token that may write",
                409: "somebody else changed the repository meanwhile: try again",
                429: f"{host} had too many requests: try again in a few minutes",
            }
            return f"{repo}: {reasons.get(status, f'{host} answered with status {status}: try again later')}"
        case hub_errors.HTTPError():
            return f"{repo}: {host} cannot be reached: check the network, and HF_ENDPOINT where it is set"
        case hub_errors.HFValidationError():
            return f"{str(repo)!r} is no name of a repository; owner/name was expected"
        case OSError() if not isinstance(error, hub_errors.FileMetadataError):
            reason = error.strerror or "input or output failed"
            return f"{repo}: a file cannot be read or written on this machine: {reason}"
    return f"{repo}: {host} did not answer as the Hub does: check HF_ENDPOINT, or try again later"


# ---- jobs on rented hardware -----------------------------------------------------------------------------------------


PHASES: Mapping[str, JobPhase] = {
    "SCHEDULING": "waiting",
    "COMPLETED": "done",
    "CANCELED": "cancelled",
    "ERROR": "failed",
    "DELETED": "failed",
}  # any other stage of the Hub's is "running"
JOB_PART = re.compile(r"\w[\w.-]{0,95}", re.ASCII)  # an account or a job's number, as a part of an address
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")  # colours and other signs of a terminal
LINE_CHARACTERS = 400


def list_hardware() -> tuple[Hardware, ...]:
    """The machines for jobs with one GPU or none, as the Hub lists them for everybody.

    Raises:
        JobError: if the Hub does not answer.
    """
    with _job_explained("the list of hardware"):
        return tuple(
            Hardware(
                name=each.name,
                title=each.pretty_name,
                memory=each.accelerator.vram if each.accelerator else each.ram,
                dollars=each.unit_cost_usd,
                unit=each.unit_label,
            )
            for each in _api(None, False).list_jobs_hardware(token=False)
            if each.accelerator is None or str(each.accelerator.quantity) == "1"
        )


def account_of(token: str) -> str:
    """The name of the account that `token` is of.

    Raises:
        JobError: if the Hub does not know the token, or does not answer.
    """
    with _job_explained("your account"):
        return str(_api(None, token).whoami(token=token)["name"])


def run_job(
    command: list[str],
    *,
    owner: str,
    checkpoint: str,
    hardware: str,
    max_seconds: int,
    secrets: dict[str, str],
    token: str,
) -> RentedJob:
    """Start `command` on rented `hardware`, which the account `owner` pays for at most `max_seconds`.

    The Hub keeps `secrets` encrypted, and gives them to the command as environment variables. `run_uv_job` would also
    do, but takes each argument that happens to be a file of this machine for one to upload.

    Raises:
        JobError: if the Hub refuses, or does not answer.
    """
    with _job_explained("the job", at=f"{_endpoint()}/jobs/{owner}"):
        info = _api(None, token).run_job(
            image=JOB_IMAGE,
            command=command,
            env={"PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            secrets=secrets,
            flavor=hardware,
            timeout=max_seconds,
            name=f"{HUB_LIBRARY}-train",
            namespace=owner,
        )
        return known_job(info.owner.name, info.id, checkpoint)


def known_job(owner: str, job_id: str, checkpoint: str) -> RentedJob:
    """The job `job_id` of the account `owner`; the Hub is not asked.

    Raises:
        JobError: if one of the three cannot be what it is meant to be.
    """
    repo = parse_repo(checkpoint)
    if repo is None or not JOB_PART.fullmatch(owner) or not JOB_PART.fullmatch(job_id):
        raise JobError("there is no such job: look at the jobs of your account on the Hub")
    return RentedJob(owner, job_id, f"{_endpoint()}/jobs/{owner}/{job_id}", checkpoint)


def job_report(job: RentedJob, *, token: str) -> JobReport:
    """How far `job` is now, with the last `JOB_LINES` lines of its log; none, and a `problem`, where the Hub does not
    give the log. Takes up to five seconds while the job runs, because the Hub does not say where a log ends for now.

    Raises:
        JobError: if the account may not see the job.
        PassingJobError: if the Hub does not answer now.
    """
    with _job_explained("the job", at=job.url):
        api = _api(None, token)
        info = api.inspect_job(job_id=job.job_id, namespace=job.owner)
        phase = PHASES.get(str(info.status.stage), "running")
        running = info.durations.running_secs if info.durations else None
        seconds = None if running is None else float(running)
        if phase == "waiting":
            return JobReport(phase)
        try:
            log = list(api.fetch_job_logs(job_id=job.job_id, namespace=job.owner, tail=JOB_LINES))
        except EXPLAINED:  # the job goes on all the same
            return JobReport(phase, (), seconds, "the Hub does not give the log now: look at the job there")
        lines = [ESCAPES.sub("", line.rstrip().rpartition("\r")[2]).replace(token, "…") for line in log]
        kept = tuple(line[:LINE_CHARACTERS] for line in lines[-JOB_LINES:])
        return JobReport(phase, kept, seconds)


def cancel_job(job: RentedJob, *, token: str) -> None:
    """End `job` now; it costs nothing more.

    Raises:
        JobError: if the account may not end it, or the Hub does not answer.
    """
    with _job_explained("the job", at=job.url):
        _api(None, token).cancel_job(job_id=job.job_id, namespace=job.owner)


@contextmanager
def _job_explained(about: str, at: str = "") -> Iterator[None]:
    """As `_explained`, of what jobs are asked for; `at` is the address where the Hub shows how it really is."""
    try:
        yield
    except EXPLAINED as error:
        host = _endpoint().partition("//")[2]
        if isinstance(error, hub_errors.OfflineModeIsEnabled):
            raise JobError(f"{about}: HF_HUB_OFFLINE forbids to ask {host}") from error
        if not isinstance(error, hub_errors.HfHubHTTPError):
            look = f"; a job goes on meanwhile, see {at}" if at else ""
            raise PassingJobError(
                f"{about}: {host} cannot be reached, or did not answer as the Hub does{look}"
            ) from error
        status = error.response.status_code
        reasons = {
            400: "the Hub refused this hardware or time limit: choose another",
            401: f"{host} does not know this token: copy it again, or sign in again",
            402: f"the account has no credit left: add some on {_endpoint()}/settings/billing",
            403: "this token may not run jobs: use one with write access and the right to run jobs. Jobs also need "
            f"credit, see {_endpoint()}/settings/billing",
            404: "it is not there, or belongs to another account: use a token of the account that started it",
            429: f"{host} had too many requests: try again in a few minutes",
        }
        kind = PassingJobError if status == 429 or status >= 500 else JobError
        raise kind(
            f"{about}: {reasons.get(status, f'{host} answered with status {status}: try again later')}"
        ) from error
