"""Which clips and pairs train and which validate: seeded, with each prompt on one side, or as a `split` column says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256

from vjepa_demo.config import MIN_VALIDATION_CLIPS
from vjepa_demo.schema import PairRecord, RecordError, Split, VideoRecord
from vjepa_demo.wording import clips_and_pairs, counted, shortened

Row = VideoRecord | PairRecord


def split_records(
    records: Iterable[VideoRecord], pairs: Iterable[PairRecord] = (), *, validation_fraction: float, seed: int
) -> Split:
    """Clips and pairs to train on and to validate on, in their given order.

    All clips and pairs of a prompt are on the same side; about `validation_fraction` of them validate. The choice
    depends only on the prompts and `seed`, not on the order of the rows. A `split` column decides instead where there
    is one.

    Raises:
        RecordError: if nothing is left to train on.
    """
    rows: tuple[Row, ...] = (*records, *pairs)
    if not 0 <= validation_fraction < 1:
        raise RecordError(f"the validation fraction is {validation_fraction:g}; 0 to below 1 was expected, such as 0.2")
    if any(row.split for row in rows):
        train, validation, warnings = _given_split(rows)
    elif validation_fraction == 0:
        train, validation = rows, ()
        warnings = ["No clips are kept for validation, so no metrics are reported."]
    else:
        train, validation, warnings = _split_by_prompt(rows, validation_fraction, seed)
    if not train:
        raise RecordError(
            "no clip is left to train on: " + ("all are marked for validation" if rows else "no row can be used")
        )
    return Split(_clips(train), _clips(validation), tuple(warnings), _pairs(train), _pairs(validation))


def _clips(rows: Sequence[Row]) -> tuple[VideoRecord, ...]:
    return tuple(row for row in rows if isinstance(row, VideoRecord))


def _pairs(rows: Sequence[Row]) -> tuple[PairRecord, ...]:
    return tuple(row for row in rows if isinstance(row, PairRecord))


def _given_split(rows: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[Row, ...], list[str]]:
    """The split that the `split` column gives, and warnings; rows with an empty one are for training."""
    validation = tuple(row for row in rows if row.split == "validation")
    train = tuple(row for row in rows if row.split != "validation")
    warnings = []
    if unassigned := sum(row.split is None for row in rows):
        warnings.append(f"{counted(unassigned, 'row')} with an empty split column: used for training.")
    if shared := {row.prompt_key for row in train} & {row.prompt_key for row in validation}:
        leaked = sum(row.prompt_key in shared for row in validation)
        noun = "validation pair" if _pairs(validation) else "validation clip"
        warnings.append(
            f"{counted(leaked, noun)} of {len(validation):,} have a prompt that is also in training, such "
            f"as “{shortened(min(shared))}”: the metrics will look better than they are on new prompts."
        )
    if len(validation) < MIN_VALIDATION_CLIPS:
        warnings.append(
            f"The split column marks {_counts(validation)} for validation; at least "
            f"{MIN_VALIDATION_CLIPS} are needed for metrics, so none are reported. Mark more, or remove the column."
        )
        validation = ()
    return train, validation, warnings


def _counts(rows: Sequence[Row]) -> str:
    """Such as "3 clips", "3 pairs", and "3 clips and 2 pairs"."""
    return clips_and_pairs(len(_clips(rows)), len(_pairs(rows)))


def _split_by_prompt(
    rows: Sequence[Row], fraction: float, seed: int
) -> tuple[tuple[Row, ...], tuple[Row, ...], list[str]]:
    """The split for which prompts are drawn, by a hash of seed and prompt, until `fraction` of the rows is reached.

    A prompt is taken where it brings the number of rows nearer to `fraction`, but never all prompts.
    """
    sizes: dict[str, int] = defaultdict(int)
    for row in rows:
        sizes[row.prompt_key] += 1
    target, count = fraction * len(rows), 0
    chosen: set[str] = set()
    for key in sorted(sizes, key=lambda key: sha256(f"{seed}\n{key}".encode()).digest()):
        nearer = abs(count + sizes[key] - target) < abs(count - target)
        if nearer and len(chosen) + 1 < len(sizes):
            chosen.add(key)
            count += sizes[key]
    if count < MIN_VALIDATION_CLIPS:
        warning = (
            f"Too few {'pairs' if _pairs(rows) else 'clips'} for validation: {_counts(rows)} with "
            f"{counted(len(sizes), 'prompt')} leave "
            f"{count} of the {MIN_VALIDATION_CLIPS} that are needed. All are used for training, and no metrics are "
            "reported."
        )
        return tuple(rows), (), [warning]
    validation = tuple(row for row in rows if row.prompt_key in chosen)
    return tuple(row for row in rows if row.prompt_key not in chosen), validation, []
