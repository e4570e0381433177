"""A table of pairs becomes pairs with answers: two videos of one prompt a row, and which is better in each dimension.

Two forms are read, told from a table of labels by their columns: `video_a, video_b, prompt, <dimension ...>`, and that
of VideoReward (Liu et al., Improving Video Generation with Human Feedback, 2025): `path_A, path_B, prompt, VQ, MQ, TA`,
and `Overall` or `ALL`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.data.cells import path_parts, plain
from vjepa_demo.data.columns import COLUMN_NAMES, OTHER_NAMES, SHOWN_COLUMNS, columns_shown
from vjepa_demo.data.sheet import read_sheet
from vjepa_demo.data.table import NO_LABEL, SPLIT_NAMES, by_line, row_messages, wrong_width
from vjepa_demo.schema import Answer, RecordError, RecordProblem, SplitName
from vjepa_demo.wording import listed, shortened

VIDEO_NOUNS = ("video", "videoname", "videopath", "videofile", "path", "filepath", "file", "filename", "clip")
SIDES = (("a", "b"), ("left", "right"))  # how a table may call them, at either end of a column's name
# VideoReward's dimensions: visual quality (clarity, aesthetics and single frames), motion quality (stable and natural
# motion), text alignment. Visual quality is nearest to Traditional, whose clarity it names first.
OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "Traditional": ("vq", *OTHER_NAMES["Traditional"]),
    "Alignment": ("ta", "textalignment", *OTHER_NAMES["Alignment"]),
    "Aesthetic": (),
    "Temporal": ("mq", "motionquality", *OTHER_NAMES["Temporal"]),
    "Overall": ("all", "preference", "preferred", "winner", "better", "answer", "choice"),
}
ANSWER_WORDS: Mapping[str, Answer] = {
    **dict.fromkeys(("a", "left"), "a"),
    **dict.fromkeys(("b", "right"), "b"),
    **dict.fromkeys(("same", "tie", "tied", "equal", "draw", "="), "same"),
}


@dataclass(frozen=True)
class PairRow:
    """A row that can be used once its two videos are found."""

    line: int
    name_a: str
    name_b: str
    prompt: str
    answers: dict[str, Answer]
    split: SplitName | None = None


@dataclass(frozen=True)
class PairTable:
    """A table of `num_rows` pairs: the rows that can be used, and the problems of the others. `notes` are sentences."""

    rows: tuple[PairRow, ...]
    problems: tuple[RecordProblem, ...]
    num_rows: int
    notes: tuple[str, ...] = ()


def read_pairs(path: str | Path) -> PairTable | None:
    """The pairs of a table in any format that `read_sheet` reads; None where its columns name no two sides of a pair.

    Letter case does not count: `A`, `left` and `a` are one answer. An empty answer is none. Rows of the same two videos
    are answers of several people, and each stays a pair.

    Raises:
        RecordError: if `read_sheet` does, or if a table of pairs lacks a column or has one twice.
    """
    path = Path(path)
    sheet = read_sheet(path)
    header = sheet.rows[0][1]
    names = [plain(column) for column in header]
    sides = next((found for pair in SIDES if (found := _side_columns(names, pair))), None)
    if sides is None:
        return None
    fields = dict(zip(("a", "b"), sides, strict=True)) | _other_columns(path.name, header, names)
    rows, problems = [], []
    for line, cells in sheet.rows[1:]:
        if len(cells) < len(header) or any(cells[len(header) :]):
            problems.append(RecordProblem(line, wrong_width(len(cells), len(header))))
            continue
        row, messages = _row(line, {field: cells[index] for field, index in fields.items()}, header, fields)
        problems += [RecordProblem(line, message) for message in messages]
        if not messages:
            rows.append(row)
    ignored = [name or "(no name)" for index, name in enumerate(header) if index not in fields.values()]
    notes = list(sheet.notes)
    if renamed := [name for name in DIMENSIONS if name in fields and names[fields[name]] in OTHER_WORDS[name]]:
        notes.append(f"{listed([f'{header[fields[name]]} is read as {name}' for name in renamed])}.")
    if ignored:
        notes.append(f"Ignored columns: {columns_shown(ignored)}.")
    return PairTable(tuple(rows), by_line(problems), len(sheet.rows) - 1, tuple(notes))


def _side_columns(names: Sequence[str], sides: tuple[str, str]) -> tuple[int, int] | None:
    """The indices of the two columns that name the videos of `sides`."""
    for noun in VIDEO_NOUNS:
        wanted = [(f"{noun}{side}", f"{side}{noun}") for side in sides]  # video_left and left_video
        found = [[index for index, name in enumerate(names) if name in either] for either in wanted]
        if all(len(each) == 1 for each in found):
            return found[0][0], found[1][0]
    return None


def _other_columns(table: str, header: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """The indices of the columns of the prompt, the split and each dimension that has one.

    Raises:
        RecordError: if there is no prompt or no dimension, or two columns could each be one.
    """
    found: dict[str, int] = {}
    problems = []
    for field in ("prompt", "split", *DIMENSIONS):
        ways = (COLUMN_NAMES[field], OTHER_WORDS.get(field, ()))
        places = ([index for index, name in enumerate(names) if name in each] for each in ways)
        candidates = next(filter(None, places), [])
        if len(candidates) > 1:
            columns = listed([f"“{shortened(header[index])}”" for index in candidates[:SHOWN_COLUMNS]])
            problems.append(f"The columns {columns} could each be the {field}: keep one")
        elif candidates:
            found[field] = candidates[0]
    if "prompt" not in found and not problems:
        problems.append("No column for the prompt: call it prompt")
    if not problems and not found.keys() & set(DIMENSIONS):
        problems.append(f"No column of answers: at least one of {', '.join(DIMENSIONS)} was expected")
    if problems:
        raise RecordError(f"{table} has the columns {columns_shown(header)}. " + ". ".join(problems))
    return found


def _row(
    line: int, cells: Mapping[str, str], header: Sequence[str], fields: Mapping[str, int]
) -> tuple[PairRow, list[str]]:
    """The pair on `line`, whose known columns hold `cells`; and what is wrong with it, then it is not to be used."""
    shown = {field: header[index] for field, index in fields.items()}
    prompt, split = cells["prompt"], cells.get("split", "")
    messages = row_messages(cells["a"], prompt, {"video": shown["a"], "prompt": shown["prompt"]})
    messages += row_messages(cells["b"], None, {"video": shown["b"]})
    if path_parts(cells["a"]) and path_parts(cells["a"]) == path_parts(cells["b"]):
        messages.append(f"{shown['a']} and {shown['b']} name the same video; two were expected")
    if split and split.casefold() not in SPLIT_NAMES:
        messages.append(f"{shown['split']} is “{shortened(split)}”; train or validation was expected")
    answers: dict[str, Answer] = {}
    given = {name: cells[name] for name in DIMENSIONS if name in cells and cells[name].casefold() not in NO_LABEL}
    for name, text in given.items():
        if (answer := ANSWER_WORDS.get(text.casefold())) is None:
            messages.append(f"{shown[name]} is “{shortened(text)}”; a, b or same was expected")
        else:
            answers[name] = answer
    if not given:
        messages.append(f"no answer in {', '.join(shown[name] for name in DIMENSIONS if name in shown)}")
    return PairRow(line, cells["a"], cells["b"], prompt, answers, SPLIT_NAMES.get(split.casefold())), messages
