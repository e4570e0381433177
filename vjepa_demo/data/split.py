"""Which clips train and which validate: seeded, with each prompt on one side, or as a `split` column says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256

from vjepa_demo.config import MIN_VALIDATION_CLIPS
from vjepa_demo.schema import RecordError, Split, VideoRecord
from vjepa_demo.wording import counted, shortened


def split_records(records: Iterable[VideoRecord], *, validation_fraction: float, seed: int) -> Split:
    """Clips to train on and to validate on, in their given order.

    All clips of a prompt are on the same side; about `validation_fraction` of the clips validate. The choice depends
    only on the prompts and `seed`, not on the order of the rows. A `split` column decides instead where there is one.

    Raises:
        RecordError: if no clip is left to train on.
    """
    records = tuple(records)
    if not 0 <= validation_fraction < 1:
        raise RecordError(f"the validation fraction is {validation_fraction:g}; 0 to below 1 was expected, such as 0.2")
    if any(record.split for record in records):
        split = _given_split(records)
    elif validation_fraction == 0:
        split = Split(records, (), ("No clips are kept for validation, so no metrics are reported.",))
    else:
        split = _split_by_prompt(records, validation_fraction, seed)
    if not split.train:
        raise RecordError(
            "no clip is left to train on: " + ("all are marked for validation" if records else "no row can be used")
        )
    return split


def _given_split(records: Sequence[VideoRecord]) -> Split:
    """The split that the `split` column gives; rows with an empty one are for training."""
    validation = tuple(record for record in records if record.split == "validation")
    train = tuple(record for record in records if record.split != "validation")
    warnings = []
    if unassigned := sum(record.split is None for record in records):
        warnings.append(f"{counted(unassigned, 'row')} with an empty split column: used for training.")
    if shared := {record.prompt_key for record in train} & {record.prompt_key for record in validation}:
        leaked = sum(record.prompt_key in shared for record in validation)
        warnings.append(
            f"{counted(leaked, 'validation clip')} of {len(validation):,} have a prompt that is also in training, such "
            f"as “{shortened(min(shared))}”: the metrics will look better than they are on new prompts."
        )
    if len(validation) < MIN_VALIDATION_CLIPS:
        warnings.append(
            f"The split column marks {counted(len(validation), 'clip')} for validation; at least "
            f"{MIN_VALIDATION_CLIPS} are needed for metrics, so none are reported. Mark more, or remove the column."
        )
        validation = ()
    return Split(train, validation, tuple(warnings))


def _split_by_prompt(records: Sequence[VideoRecord], fraction: float, seed: int) -> Split:
    """The split for which prompts are drawn, by a hash of seed and prompt, until `fraction` of the clips is reached.

    A prompt is taken where it brings the number of clips nearer to `fraction`, but never all prompts.
    """
    sizes: dict[str, int] = defaultdict(int)
    for record in records:
        sizes[record.prompt_key] += 1
    target, count = fraction * len(records), 0
    chosen: set[str] = set()
    for key in sorted(sizes, key=lambda key: sha256(f"{seed}\n{key}".encode()).digest()):
        nearer = abs(count + sizes[key] - target) < abs(count - target)
        if nearer and len(chosen) + 1 < len(sizes):
            chosen.add(key)
            count += sizes[key]
    if count < MIN_VALIDATION_CLIPS:
        warning = (
            f"Too few clips for validation: {counted(len(records), 'clip')} with {counted(len(sizes), 'prompt')} leave "
            f"{count} of the {MIN_VALIDATION_CLIPS} that are needed. All are used for training, and no metrics are "
            "reported."
        )
        return Split(tuple(records), (), (warning,))
    validation = tuple(record for record in records if record.prompt_key in chosen)
    return Split(tuple(record for record in records if record.prompt_key not in chosen), validation)
