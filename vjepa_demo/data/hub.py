"""The Hugging Face Hub: checkpoints and labelled data sets go up and down. Nothing fetched is run or unpickled.

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

from vjepa_demo.config import HUB_LIBRARY, HUB_TIMEOUT_SECONDS
from vjepa_demo.schema import CheckpointError, DemoError, RecordError, UploadingReport
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


def download_snapshot(repo: HubRepo, patterns: Collection[str], *, token: Token, max_bytes: int) -> Path:
    """The folder with the files of `repo` that match one of `patterns`; it lies in the Hub's cache, to be read only.

    The Hub is asked each time whether this token may read them. If it cannot be reached, an earlier download is used.

    Raises:
        CheckpointError: if the files cannot be had, or have more than `max_bytes`.
    """
    fetch = partial(snapshot_download, repo.repo_id, revision=repo.revision, allow_patterns=list(patterns))
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
    repo = parse_repo(repo_id, kind)
    if repo is None or repo.revision is not None:
        example = {"model": "me/my-video-scores", "dataset": "me/my-ratings"}[kind]
        raise ERRORS[kind](f"{repo_id!r} is no name of a repository; owner/name was expected, such as {example}")
    with _explained(repo):
        api = _api(repo, token)
        there: set[str] = set()
        try:
            ask = api.model_info if kind == "model" else api.dataset_info
            info = ask(repo_id, timeout=HUB_TIMEOUT_SECONDS)
        except hub_errors.RepositoryNotFoundError as error:
            if isinstance(error, hub_errors.GatedRepoError):
                raise
            api.create_repo(repo_id, repo_type=kind, private=private)
        else:
            there = {file.rfilename for file in info.siblings or ()}
            library = info.card_data.get("library_name") if info.card_data else None
            if there - {".gitattributes", "README.md"} and library != HUB_LIBRARY:
                raise ERRORS[kind](
                    f"{repo} holds something other than a {WRITTEN[kind]} of this program: choose another name"
                )
            if private and not info.private:
                raise ERRORS[kind](f"{repo} exists already and is public: choose another name, or upload publicly")
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


def _api(repo: HubRepo, token: Token) -> HfApi:
    if isinstance(token, str) and not re.fullmatch(r"[!-~]+", token):  # httpx would print it
        raise ERRORS[repo.kind]("the token is empty or has a space in it: copy it again from the Hub's settings")
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
