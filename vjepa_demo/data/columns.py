"""The columns of a table: found by their names, or by what they hold where a table names none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from vjepa_demo.config import DIMENSIONS, VIDEO_SUFFIXES
from vjepa_demo.data.cells import NUMBER, plain
from vjepa_demo.schema import RecordError
from vjepa_demo.wording import listed, shortened, some_of

Row = tuple[int, tuple[str, ...]]  # its line, its stripped cells
SHOWN_COLUMNS = 20  # of a table that may have a million, in a message


def _label_column_names(dimension: str) -> tuple[str, ...]:
    name = dimension.lower()
    names = (f"{name}mos", name, f"{name}score", f"{name}label", f"{name}rating", f"{name}quality", f"mos{name}")
    return (*names, "mos") if dimension == "Overall" else names


# How a table may call its columns, in any case and with any punctuation. Of several columns the first name wins.
COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "video": (
        *("videoname", "video", "videopath", "videofile", "videofilename"),
        *("path", "filepath", "filename", "file", "clip", "name"),
    ),
    "prompt": ("prompt", "text", "caption", "textprompt", "description"),
    "split": ("split", "subset", "partition"),
    "rater": tuple(
        f"{who}{ending}"
        for who in ("rater", "annotator", "worker", "participant", "observer", "evaluator")
        for ending in ("", "id", "name")
    ),
    **{name: _label_column_names(name) for name in DIMENSIONS},
}
# Names that count where none of the above is there. Three are those of VideoFeedback (VideoScore, EMNLP 2024).
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "video": ("videoid", "flickrid", "clipid", "videolink", "videourl"),  # flickr_id: KoNViD-1k
    "Traditional": ("visualquality",),
    "Alignment": ("texttovideoalignment",),
    "Temporal": ("temporalconsistency",),
}
BARE_SCORES = ("score", "rating")  # of a rater; beside labels or among results they may be anything
NO_DIMENSION = ("dynamicdegree", "factualconsistency")  # of VideoFeedback, which the five dimensions do not measure
KNOWN = frozenset(chain(*COLUMN_NAMES.values(), *OTHER_NAMES.values(), BARE_SCORES, NO_DIMENSION))

WRITTEN_NAMES = {"video": "video_name", "prompt": "Prompt", "labels": "Overall_MOS"}  # of columns without a name
NEARLY_ALL = 0.95  # of a column's cells decide what it is: one typing error changes nothing


def num_known(cells: Iterable[str]) -> int:
    """How many of `cells` are names of columns, each name once."""
    return len({plain(cell) for cell in cells} & KNOWN)


def columns_shown(names: Sequence[str]) -> str:
    """`names` of columns, which a stranger chose, as a message lists them."""
    return some_of([shortened(name) for name in names], SHOWN_COLUMNS)


def find_columns(name: str, header: Sequence[str], required: Collection[str]) -> tuple[dict[str, int], list[str]]:
    """The index of the column for each key of `COLUMN_NAMES` that has one; and notes on labels in several columns.

    `name` is what messages call the table; `required` is as for `read_table`.

    Raises:
        RecordError: if a required column is missing, or several could each be it.
    """
    found: dict[str, int] = {}
    problems: list[str] = []
    notes: list[str] = []
    scores = _score_columns(header)
    names = {index: plain(column) for index, column in enumerate(header) if index not in scores}
    for field, known in COLUMN_NAMES.items():
        candidates = [index for index, each in names.items() if each in known]
        first = [index for index in candidates if names[index] == known[0]]
        others = [index for index, each in names.items() if each in OTHER_NAMES.get(field, ())]
        chosen = first or candidates or others
        if len(chosen) > 1:
            columns = list(dict.fromkeys(f"“{shortened(header[index])}”" for index in chosen))[:SHOWN_COLUMNS]
            several = f"columns {listed(columns)}" if len(columns) > 1 else f"{len(chosen)} columns {columns[0]}"
            needed = field in ("video", "prompt") or ("labels" in required and field != "rater")
            (problems if needed else notes).append(f"The {several} could each be the {field}: keep one")
        elif chosen:
            found[field] = chosen[0]
        elif field in required:
            problems.append(f"No column for the {field}: call it {WRITTEN_NAMES[field]}")
    if not found.keys() & set(DIMENSIONS) and ("labels" in required or "rater" in found):
        bare = [index for index, each in names.items() if each in BARE_SCORES]
        if len(bare) == 1:
            found["Overall"] = bare[0]
            notes.append(f"The column “{header[bare[0]]}” is read as Overall")
    if not problems and "labels" in required and not found.keys() & set(DIMENSIONS):
        wanted = ", ".join(f"{name}_MOS" for name in DIMENSIONS)
        problems.append(f"No column of labels: at least one of {wanted} was expected")
    if problems:
        raise RecordError(f"{name} has the columns {columns_shown(header)}. " + ". ".join(problems))
    if left_out := [f"“{header[index]}”" for index, each in names.items() if each in NO_DIMENSION]:
        notes.append(f"No dimension measures {listed(left_out)}: left out")
    return found, [f"{note}." for note in notes]


def added_columns(header: Iterable[str], *, intervals: bool = False) -> tuple[str, ...]:
    """The columns that scoring adds to a table with the columns `header`: five scores, then `unknown_words`,
    `not_meaningful`, `notes`, `error` and `scored_by`, and for a model that has `intervals` the low and the high end of
    each, such as `Overall_low`; a name that is taken gets a number."""
    taken = {name.casefold() for name in header}
    endings = ("", "_score", *(f"_score_{number}" for number in range(2, len(taken) + 3)))
    scores = ([f"{name}{ending}" for name in DIMENSIONS] for ending in endings)
    free = next(names for names in scores if not taken & {name.casefold() for name in names})
    ends = [f"{name}_{end}" for name in DIMENSIONS for end in ("low", "high")] if intervals else []
    for name in ("unknown_words", "not_meaningful", "notes", "error", "scored_by", *ends):
        numbered = (f"{name}_{number}" for number in count(2))
        free.append(next(each for each in chain([name], numbered) if each not in taken))
    return tuple(free)


def _score_columns(header: Sequence[str]) -> set[int]:
    """The indices of columns that `added_columns` named for scores: what a model predicted is no label."""
    found: set[int] = set()
    for end, name in enumerate(header):
        if not re.fullmatch(r"scored_by(_\d+)?", name):
            continue
        for others in range(4, 0, -1):  # columns between the scores and this one; older versions wrote fewer
            start = end - len(DIMENSIONS) - others
            names = [re.sub(r"_score(_\d+)?$", "", each) for each in header[max(start, 0) : end - others]]
            if names == list(DIMENSIONS):
                found.update(range(start, end - others))
    return found


# ---- tables that do not name their columns ---------------------------------------------------------------------------


def named_columns(
    name: str, rows: tuple[Row, ...], required: Collection[str]
) -> tuple[tuple[str, ...], tuple[Row, ...], list[str]]:
    """The names of the columns, the rows below them, and notes. A header may lack the name of an index; where there is
    no header at all, the columns are told by what they hold.

    Raises:
        RecordError: if there is no header, and a required column cannot be told.
    """
    header = rows[0][1]
    if not num_known(header) or any(map(is_video, header)):
        if any(is_video(cell) or NUMBER.fullmatch(cell) for cell in header):
            return _told_by_content(name, rows, required)
    elif index := _index_name(header, rows[1:]):
        return (*index, *header), rows[1:], []
    return header, rows[1:], []


def _index_name(header: Sequence[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """The name for the column in front that `header` lacks, as pandas and R's `write.table` leave it out; or nothing.

    A prompt that holds a separator and no quotes makes a row longer too: what stands where the video should be decides,
    or else whether the first column counts the rows.
    """
    longer = [cells for _, cells in rows if len(cells) == len(header) + 1]
    if not longer or len(longer) < NEARLY_ALL * len(rows) or not any(cells[-1] for cells in longer):
        return ()
    names = [plain(column) for column in header]
    columns = [names.index(each) for each in COLUMN_NAMES["video"] if each in names]
    if not columns:  # names of rows that are those of the videos
        return (WRITTEN_NAMES["video"],) if _share(is_video, [cells[0] for cells in longer]) >= NEARLY_ALL else ()
    here, after = (_share(is_video, [cells[columns[0] + shift] for cells in longer]) >= NEARLY_ALL for shift in (0, 1))
    if here != after:
        return ("",) if after else ()
    first = [cells[0] for cells in longer]
    return ("",) if any(first == [str(start + row) for row in range(len(first))] for start in (0, 1)) else ()


@dataclass(frozen=True)
class _Content:
    """What the columns of a table hold, by their indices: videos, sentences, numbers."""

    videos: tuple[int, ...]
    sentences: tuple[int, ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Content:
        width, _ = Counter(len(cells) for _, cells in rows).most_common(1)[0]
        columns = list(zip(*(cells for _, cells in rows if len(cells) == width), strict=True))
        videos = [index for index, cells in enumerate(columns) if _share(is_video, cells) >= NEARLY_ALL]
        numbers = [index for index, cells in enumerate(columns) if _share(_is_number, cells) >= NEARLY_ALL]
        texts = [index for index in range(width) if index not in (*videos, *numbers)]
        sentences = [index for index in texts if _share(_is_sentence, columns[index]) > 0.5]
        if not videos:  # names without an ending: one word each, and no two alike
            words = [index for index in texts if index not in sentences]
            videos = [index for index in words if len(set(columns[index])) == len(columns[index])]
        return cls(tuple(videos), tuple(sentences), tuple(numbers))


def _told_by_content(
    name: str, rows: tuple[Row, ...], required: Collection[str]
) -> tuple[tuple[str, ...], tuple[Row, ...], list[str]]:
    """`named_columns` of a table without a header: each kind of column that occurs once is told, no other is guessed.

    Raises:
        RecordError: as `named_columns`.
    """
    content = _Content.of(rows)
    kinds = {"video": content.videos, "prompt": content.sentences, "labels": content.numbers}
    found = {indices[0]: WRITTEN_NAMES[field] for field, indices in kinds.items() if len(indices) == 1}
    told = [f"column {index + 1} is read as {found[index]}" for index in sorted(found)]
    if missing := [field for field in required if len(kinds[field]) != 1]:
        which = listed([f"the {field}" for field in ("video", "prompt", "labels") if field in missing])
        raise RecordError(
            f"{name} has no line that names its columns, and what they hold does not tell {which}; put a line on top "
            f"that names all {max(len(cells) for _, cells in rows)} columns, such as “video_name”, “Prompt” and "
            "“Overall_MOS” (“-” for one that does not matter)"
        )
    notes = [f"No line names the columns: {listed(told)}."]
    if len(content.numbers) > 1:
        columns = listed([str(index + 1) for index in content.numbers])
        notes.append(f"Columns {columns} hold numbers without a name: none is read as labels.")
    width = max(len(rows[0][1]), max(found) + 1)
    return tuple(found.get(index, f"column {index + 1}") for index in range(width)), rows, notes


def _share(holds: Callable[[str], bool], cells: Sequence[str]) -> float:
    return sum(map(holds, cells)) / len(cells)


def is_video(cell: str) -> bool:
    """Whether `cell` is the name of a video file, ending included."""
    return cell.casefold().endswith(VIDEO_SUFFIXES)


def _is_number(cell: str) -> bool:
    return not cell or NUMBER.fullmatch(cell.replace(",", ".", 1)) is not None


def _is_sentence(cell: str) -> bool:
    """Whether `cell` has several words, or letters of a script that may not part them."""
    return re.search(r"\s|[^\x00-\x7f]", cell) is not None
