"""The Hugging Face Hub: checkpoints come and go, labelled data sets come. Nothing fetched is run or unpickled.

The server is $HF_ENDPOINT, read at each call; HF_HUB_OFFLINE=1 allows none. A `token` is somebody's own, False for
nobody's, or None for that of the account this machine is signed in with, if any: a page that strangers use must never
pass None, or they read what its owner may read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo, constants, snapshot_download
from huggingface_hub import errors as hub_errors
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import filter_repo_objects

from vjepa_demo.config import HUB_LIBRARY, HUB_TIMEOUT_SECONDS
from vjepa_demo.schema import CheckpointError, DemoError, RecordError

Token = str | Literal[False] | None
Kind = Literal["model", "dataset"]

REPO_NAME = re.compile(r"(?P<id>\w[\w.-]{0,95}/\w[\w.-]{0,95})(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?", re.ASCII)
ERRORS: Mapping[Kind, type[DemoError]] = {"model": CheckpointError, "dataset": RecordError}
DOWNLOAD_THREADS = 8


@dataclass(frozen=True)
class HubRepo:
    """A repository, by its id `owner/name`; `revision` is a branch, tag or commit, None the main branch."""

    repo_id: str
    kind: Kind = "model"
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"

    @property
    def url(self) -> str:
        """Its page."""
        return f"{_endpoint()}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo_id}"


@dataclass(frozen=True)
class DatasetListing:
    """The files of a dataset repository at one commit: the path of each, and its bytes."""

    repo: HubRepo
    commit: str
    files: Mapping[str, int]


def parse_repo(name: str, kind: Kind = "model") -> HubRepo | None:
    """The repository that `owner/name` or `owner/name@revision` stands for; None where `name` is neither."""
    match = REPO_NAME.fullmatch(name)
    if match is None or ".." in name or "--" in match["id"]:
        return None
    return HubRepo(match["id"], kind, match["revision"])


def download_snapshot(repo: HubRepo, patterns: Collection[str], *, token: Token, max_bytes: int) -> Path:
    """The folder with those files of `repo` that one of `patterns` matches, in the Hub's cache, to be read only.

    The Hub is asked each time whether this token may read it; where it cannot be reached, what the cache has is used.

    Raises:
        CheckpointError: if the files cannot be had, or are more than `max_bytes`.
    """
    with _explained(repo):
        api = _api(token)
        try:
            info = api.model_info(
                repo.repo_id, revision=repo.revision, timeout=HUB_TIMEOUT_SECONDS, files_metadata=True
            )
            api.auth_check(repo.repo_id)  # else the cache would give everybody what one account may read
        except (hub_errors.OfflineModeIsEnabled, hub_errors.HTTPError) as error:
            if isinstance(error, hub_errors.HfHubHTTPError) and error.response.status_code < 500:
                raise  # it answered
            return _cached_snapshot(repo, patterns, error)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        wanted = filter_repo_objects(sizes, allow_patterns=list(patterns))
        _check_size(repo, (sizes[name] for name in wanted), max_bytes)
        return Path(
            snapshot_download(
                repo.repo_id,
                revision=repo.revision,
                allow_patterns=list(patterns),
                token=token,
                endpoint=api.endpoint,
                library_name=HUB_LIBRARY,
            )
        )


def _cached_snapshot(repo: HubRepo, patterns: Collection[str], error: Exception) -> Path:
    """What an earlier download left; `error` is raised where that is nothing, or not all."""
    try:
        return Path(
            snapshot_download(
                repo.repo_id, revision=repo.revision, allow_patterns=list(patterns), local_files_only=True
            )
        )
    except hub_errors.LocalEntryNotFoundError:
        raise error from None


def list_dataset(repo: HubRepo, *, token: Token) -> DatasetListing:
    """What is in the dataset repository `repo` now; nothing is fetched.

    Raises:
        RecordError: if it cannot be had.
    """
    with _explained(repo):
        api = _api(token)
        info = api.dataset_info(repo.repo_id, revision=repo.revision, timeout=HUB_TIMEOUT_SECONDS)
        tree = api.list_repo_tree(repo.repo_id, repo_type="dataset", revision=info.sha, recursive=True)
        return DatasetListing(
            repo, str(info.sha), {file.path: file.size for file in tree if isinstance(file, RepoFile)}
        )


def fetch_files(
    listing: DatasetListing, names: Iterable[str], folder: str | Path, *, token: Token, max_bytes: int
) -> Iterator[Path]:
    """Put the files `names` of the listed commit, and no others, under their own paths into `folder`.

    Yields each path once its file is whole; closing the iterator ends the download.

    Raises:
        RecordError: if a file is not there or cannot be had, or all together are more than `max_bytes`.
    """
    repo, names = listing.repo, list(dict.fromkeys(names))
    missing = [name for name in names if name not in listing.files]
    if missing:
        raise RecordError(f"{repo} has no file {missing[0]}; it has {_some(listing.files)}")
    _check_size(repo, (listing.files[name] for name in names), max_bytes)
    pool = ThreadPoolExecutor(DOWNLOAD_THREADS)
    try:
        with _explained(repo):
            download = partial(
                _api(token).hf_hub_download,
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
) -> str:
    """Commit `files` (path in the repository to content) to the model repository `repo_id`; returns its page.

    It is made, private or not, if it is not there. Everything is one commit, which also deletes what `is_ours` knows
    of an earlier upload and `files` lacks.

    Raises:
        CheckpointError: if it holds something else than this program's, is public where `private` was asked for, or
            the account may not write to it.
    """
    repo = parse_repo(repo_id)
    if repo is None or repo.revision is not None:
        raise CheckpointError(f"{repo_id!r} is no repository id; owner/name was expected, such as me/my-video-scores")
    with _explained(repo):
        api = _api(token)
        there = _may_upload(api, repo, private=private)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationDelete(path) for path in sorted(there - files.keys()) if is_ours(path)
        ]
        operations += [CommitOperationAdd(path, content) for path, content in files.items()]
        api.create_commit(repo_id, operations, commit_message=message)
    return repo.url


def _may_upload(api: HfApi, repo: HubRepo, *, private: bool) -> set[str]:
    """The files in `repo`, which is made if need be, once it is sure that nothing of somebody else's is replaced."""
    try:
        info = api.model_info(repo.repo_id, timeout=HUB_TIMEOUT_SECONDS)
    except hub_errors.RepositoryNotFoundError as error:
        if isinstance(error, hub_errors.GatedRepoError):
            raise
        api.create_repo(repo.repo_id, private=private)
        return set()
    there = {file.rfilename for file in info.siblings or ()}
    if there - {".gitattributes", "README.md"} and _library(info) != HUB_LIBRARY:
        raise CheckpointError(f"{repo} holds something else than a checkpoint of this program: choose another name")
    if private and not info.private:
        raise CheckpointError(f"{repo} is there already, and public: choose another name, or upload publicly")
    return there


def _library(info: ModelInfo) -> str | None:
    return info.card_data.get("library_name") if info.card_data else None


def signed_in_as(token: Token) -> str | None:
    """The name of the account that `token` belongs to; None where there is no token.

    Raises:
        CheckpointError: if the Hub does not know the token, or cannot be asked.
    """
    if token is False:
        return None
    with _explained("the account"):
        try:
            return str(_api(token).whoami()["name"])
        except hub_errors.LocalTokenNotFoundError:
            return None


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _api(token: Token) -> HfApi:
    if isinstance(token, str) and not re.fullmatch(r"[!-~]+", token):  # httpx would print it
        raise CheckpointError("the token is empty or has a space in it: copy it again from the Hub's settings")
    return HfApi(endpoint=_endpoint(), token=token, library_name=HUB_LIBRARY)


def _check_size(repo: HubRepo, sizes: Iterable[int], max_bytes: int) -> None:
    total = sum(sizes)
    if total > max_bytes:
        raise ERRORS[repo.kind](f"{repo}: {total / 2**30:.1f} GiB would be fetched; {max_bytes / 2**30:.1f} at most")


@contextmanager
def _explained(what: HubRepo | str) -> Iterator[None]:
    """Errors of the library, and of the network below it, as what a person can do about them; never their text,
    in which a token may stand."""
    kind = what.kind if isinstance(what, HubRepo) else "model"
    try:
        yield
    except (hub_errors.HTTPError, OSError, ValueError) as error:
        raise ERRORS[kind](f"{what}: {_reason(error, what)}") from error


def _reason(error: Exception, what: HubRepo | str) -> str:
    host = _endpoint().partition("//")[2]
    page = what.url if isinstance(what, HubRepo) else _endpoint()
    kind = what.kind if isinstance(what, HubRepo) else "account"
    reasons: list[tuple[type[Exception], str]] = [
        (hub_errors.OfflineModeIsEnabled, "not on this machine, and HF_HUB_OFFLINE forbids to fetch it"),
        (hub_errors.GatedRepoError, f"gated: ask for access on {page}, then sign in"),
        (
            hub_errors.RepositoryNotFoundError,
            f"no such {kind} repository on {host}, or it is private: check the name, or sign in to an account "
            "that may read it",
        ),
        (hub_errors.RevisionNotFoundError, f"no such revision; its branches and tags are on {page}"),
        (hub_errors.EntryNotFoundError, "a file is not there any more: try again"),
        (hub_errors.HfHubHTTPError, ""),
        (hub_errors.HTTPError, f"{host} cannot be reached: check the network, and HF_ENDPOINT where it is set"),
        (hub_errors.HFValidationError, "no repository id; owner/name was expected"),
        (OSError, f"cannot be written to this machine: {getattr(error, 'strerror', None) or 'input or output failed'}"),
        (ValueError, f"{host} did not answer as the Hub does: check HF_ENDPOINT, or try again later"),
    ]
    reason = next(text for cls, text in reasons if isinstance(error, cls))
    return reason or _status_reason(error, host)


def _status_reason(error: Exception, host: str) -> str:
    status = error.response.status_code if isinstance(error, hub_errors.HfHubHTTPError) else 0
    return {
        401: f"{host} does not know this account: sign in again",
        403: "this account may not do that: ask its owner, or use a token that may write",
        409: "somebody else changed it meanwhile: try again",
        429: f"{host} had too many requests: try again in a few minutes",
    }.get(status, f"{host} answered with status {status}: try again later")


def _some(paths: Iterable[str]) -> str:
    names = sorted(paths, key=lambda path: (len(PurePosixPath(path).parts), path))
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
