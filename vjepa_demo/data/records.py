"""Labelled clips are read from a table with its videos or from a data set on the Hub, and written to a CSV."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from vjepa_demo.config import DATASET_MAX_BYTES, DIMENSIONS, MAX_TABLE_BYTES, VIDEO_SUFFIXES
from vjepa_demo.data.cells import as_text
from vjepa_demo.data.hub import Token, fetch_files, list_dataset, parse_repo
from vjepa_demo.data.match import ARCHIVE_SUFFIXES, match_files, match_videos, name_videos
from vjepa_demo.data.pairs import PairTable, read_pairs
from vjepa_demo.data.table import LabelTable, read_labels
from vjepa_demo.files import replacing
from vjepa_demo.media.archive import is_hidden
from vjepa_demo.schema import FetchingReport, PairRecord, RecordError, RecordSet, TrainingResult, VideoRecord
from vjepa_demo.wording import listed, shortened, some_of

# Of the data sets on the Hub: a .txt or .json in one is seldom its table, and Parquet only where there is no text.
HUB_TABLE_SUFFIXES = ((".csv", ".tsv"), (".jsonl", ".parquet", ".xlsx"))
LABELS_FILE = "labels.csv"


def read_records(
    labels: str | Path | Sequence[str | Path],
    videos: str | Path | Sequence[str | Path],
    *,
    label_range: tuple[float, float] | None = None,
    extract_to: str | Path | None = None,
) -> RecordSet:
    """The labelled clips, or the pairs, of the table `labels` whose files are found in `videos`; no video is opened.

    `read_labels` and `match_videos` explain the arguments; `check_videos` opens the videos. The columns of a table say
    whether it holds pairs (`read_pairs`); `labels` may be two tables, one of each kind.

    Raises:
        RecordError: if a table, or what should hold the videos, cannot be used at all, or if two are of one kind.
    """
    tables, names = _read_tables(labels, label_range)
    return match_videos(tables, videos, extract_to=extract_to, names=names)


def read_rows(
    labels: str | Path | Sequence[str | Path], *, label_range: tuple[float, float] | None = None
) -> RecordSet:
    """As `read_records`, before any video is there: each record's video is the path that its row writes.

    Raises:
        RecordError: if a table cannot be used at all, or if two are of one kind.
    """
    tables, names = _read_tables(labels, label_range)
    return name_videos(tables, names=names)


def _read_tables(
    labels: str | Path | Sequence[str | Path], label_range: tuple[float, float] | None
) -> tuple[list[LabelTable | PairTable], list[str]]:
    """The tables and their names."""
    paths = [labels] if isinstance(labels, str | Path) else list(labels)
    tables = [_read_either(path, label_range) for path in paths]
    names = [Path(path).name for path in paths]
    if len({type(table) for table in tables}) != len(tables):
        raise RecordError(
            f"{listed(names)} are of one kind; at most one table of labels and one of pairs are used together: put the "
            "rows of one kind into one table"
        )
    return tables, names


def _read_either(path: str | Path, label_range: tuple[float, float] | None) -> LabelTable | PairTable:
    return read_pairs(path) or read_labels(path, label_range=label_range)


def read_hub_records(
    name: str,
    folder: str | Path,
    *,
    token: Token,
    label_range: tuple[float, float] | None = None,
    max_bytes: int = DATASET_MAX_BYTES,
) -> Iterator[FetchingReport | RecordSet]:
    """The labelled clips of the data set `owner/name` or `owner/name@revision` on the Hub; no video is opened.

    Its table is `labels.csv`, or its only .csv or .tsv, or without those its only .jsonl, .parquet or .xlsx. Only the
    table and the videos that it names are fetched, once, at most `max_bytes` and half of the free disk, into a folder
    in `folder` named after the data set and its commit.
    `token` says who reads (see `hub`). Yields a `FetchingReport` for each video, then the `RecordSet`; closing the
    iterator ends the download.

    Raises:
        RecordError: if the data set cannot be read, is too large, or holds no table or no videos.
    """
    repo = parse_repo(name, "dataset")
    if repo is None:
        raise RecordError(
            f"“{shortened(name)}” is no data set on the Hub; owner/name was expected, such as me/my-clips"
        )
    listing = list_dataset(repo, token=token)
    folder = Path(folder) / f"{repo.repo_id.replace('/', '--')}-{listing.commit[:12]}"
    visible = [name for name in listing.files if not is_hidden(name)]
    found = (sorted(name for name in visible if name.lower().endswith(suffixes)) for suffixes in HUB_TABLE_SUFFIXES)
    tables = next(filter(None, found), [])
    if not tables:
        raise RecordError(f"{repo} has no table of labels: a {LABELS_FILE}, or one .csv or .tsv, was expected")
    table_name = LABELS_FILE if LABELS_FILE in tables else tables[0]
    if table_name != LABELS_FILE and len(tables) > 1:
        raise RecordError(
            f"{repo} has {len(tables):,} tables ({some_of(tables)}); call the one that holds the labels {LABELS_FILE}"
        )
    (path,) = fetch_files(listing, [table_name], folder, token=token, max_bytes=min(max_bytes, MAX_TABLE_BYTES))
    table = _read_either(path, label_range)
    videos = {folder / video: video for video in visible if video.lower().endswith(VIDEO_SUFFIXES)}
    if not videos:
        packed = any(name.lower().endswith((*ARCHIVE_SUFFIXES, ".parquet")) for name in listing.files)
        hint = "; archives in it are not opened: download it, and give labels and videos as files" if packed else ""
        raise RecordError(f"{repo} holds no videos{hint}")
    records = match_files(table, ((video, file) for file, video in videos.items()), str(repo))
    named = list(dict.fromkeys(videos[clip.video] for clip in records.clips))
    most = min(max_bytes - listing.files[table_name], shutil.disk_usage(folder).free // 2)
    for done, _ in enumerate(fetch_files(listing, named, folder, token=token, max_bytes=most), start=1):
        yield FetchingReport(done, len(named))
    yield records


def write_labels(path: str | Path, records: Iterable[VideoRecord]) -> None:
    """Write `records` as a CSV with the columns of TaobaoVD-GC, whole or not at all; scores are from 1 to 5.

    It has a `split` column if any record has a split. An apostrophe is put before a cell that a spreadsheet would run
    as a formula; `read_labels` takes it away again.
    """
    path, records = Path(path), list(records)
    table = pd.DataFrame(
        {
            "video_name": [as_text(record.name) for record in records],
            "Prompt": [as_text(record.prompt) for record in records],
            **{f"{name}_MOS": [record.labels.get(name) for record in records] for name in DIMENSIONS},
        }
    )
    if any(record.split for record in records):
        table["split"] = [record.split for record in records]
    _write(path, table)


def write_pairs(path: str | Path, pairs: Iterable[PairRecord]) -> None:
    """Write `pairs` as a CSV that `read_pairs` reads: `video_a`, `video_b`, `prompt`, a column for each dimension that
    any pair has an answer in, and `split` if any has one. Otherwise as `write_labels`.
    """
    pairs = list(pairs)
    table = pd.DataFrame(
        {
            "video_a": [as_text(pair.a.name) for pair in pairs],
            "video_b": [as_text(pair.b.name) for pair in pairs],
            "prompt": [as_text(pair.prompt) for pair in pairs],
            **{
                name: [pair.answers.get(name) for pair in pairs]
                for name in DIMENSIONS
                if any(name in pair.answers for pair in pairs)
            },
        }
    )
    if any(pair.split for pair in pairs):
        table["split"] = [pair.split for pair in pairs]
    _write(Path(path), table)


def write_predictions(path: str | Path, result: TrainingResult) -> None:
    """Write the validation clips of `result` as a CSV, whole or not at all: `video_name`, `Prompt`, and for each
    dimension with labels `<dimension>_MOS` and `<dimension>_predicted`, all from 1 to 5.

    Cells that a spreadsheet would run as a formula are made harmless as in `write_labels`.
    """
    columns: dict[str, list[str] | list[float] | list[float | None]] = {
        "video_name": [as_text(record.name) for record in result.validation],
        "Prompt": [as_text(record.prompt) for record in result.validation],
    }
    for index, name in enumerate(DIMENSIONS):
        if any(name in record.labels for record in result.validation):
            columns[f"{name}_MOS"] = [record.labels.get(name) for record in result.validation]
            columns[f"{name}_predicted"] = [scores[index] for scores in result.predictions]
    _write(Path(path), pd.DataFrame(columns))


def _write(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\r\n")  # RFC 4180; with "\n" a "\r" is not quoted
