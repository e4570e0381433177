"""People rate the clips of a study: what each is shown next, what was answered, and what all answers say.

Loads no torch. `tasks.study` makes the studies.
"""

from __future__ import annotations

import hmac
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np

from vjepa_demo.data.raters import by_clip, dimension_ratings, pair_ratings
from vjepa_demo.data.ratings import (
    STUDY_FILE,
    LineWriter,
    RatingLog,
    preview_path,
    read_study,
    write_answers,
    write_mean_scores,
    write_ratings,
    write_scores,
)
from vjepa_demo.data.records import LABELS_FILE
from vjepa_demo.files import new_folder, writing
from vjepa_demo.schema import RecordError, VideoRecord, well_formed
from vjepa_demo.schema.rating import (
    DimensionRatings,
    Given,
    Rater,
    Rating,
    RatingItem,
    RatingProgress,
    Round,
    Study,
    StudyStatistics,
    check_given,
    rater_key,
)
from vjepa_demo.wording import rating_notes, shortened

NUM_WARM_UPS = 3  # the same for all raters, as in the practice session of ITU-T P.910
REPEAT_SHARE = 0.1  # of the clips are shown twice
LONG_PAUSE_SECONDS = 120.0  # between two answers: the rater was away
MIN_TIMED = 3  # answers, from which the time of one is estimated
RATINGS_TABLE, SCORES_TABLE, PAIRS_TABLE, VIDEOS_FOLDER = "ratings.csv", "scores.csv", "pairs.csv", "videos"

MAX_RATERS = 200  # of a study: anybody who has its link may join
ROUNDS: tuple[Round, ...] = get_args(Round)

Unit = tuple[str, ...]  # the sorted keys of what is judged: of one clip, or of two
# Chooses what a rater is shown next: given what the rater has not judged yet, in the rater's random order, one of it.
Chooser = Callable[[Sequence[Unit]], Unit]


@dataclass
class _State:
    """What the log says of one rater. `rounds` maps what was shown to its answer, in the order of the answers."""

    name: str
    secret_sha256: str
    rounds: dict[tuple[Round, Unit], Rating] = field(default_factory=dict)
    # Made when the rater is first asked for something: a study may have many raters who have left.
    order: list[Unit] = field(default_factory=list)
    slots: frozenset[int] = frozenset()


class OpenStudy:
    """A study that people rate: the same for its owner and all raters, safe in several threads and processes.

    An answer is on the disk before `rate` returns. Nothing else is kept: whoever opens the study anew goes on where
    they were.
    """

    def __init__(self, folder: str | Path) -> None:
        """
        Raises:
            RecordError: if `folder` holds no study.
        """
        self.folder = Path(folder)
        self.study: Study = read_study(self.folder)
        self._clips = {clip.key: clip for clip in self.study.clips}
        self._units: tuple[Unit, ...] = tuple(tuple(sorted(unit)) for unit in self.study.units)
        num = min(NUM_WARM_UPS, len(self._units) // 4)
        chosen = self._random("warm-ups").permutation(len(self._units))[:num]
        self._places = {unit: place for place, unit in enumerate(self._units)}
        self._practice = [self._units[place] for place in chosen]
        self._log = RatingLog(self.folder)
        self._lock = threading.RLock()
        self._raters: dict[str, _State] = {}
        self._skipped: dict[str, str] = {}
        self._ended = False

    # ---- raters ------------------------------------------------------------------------------------------------------

    def join(self, name: str) -> Rater:
        """A new rater of that name, with the secret to go on with; spaces around and within the name do not matter.

        Raises:
            RecordError: if the name cannot be used, another rater has it, or the study has ended or has `MAX_RATERS`
                raters.
        """
        key, shown = rater_key(name), " ".join(well_formed(name).split())
        secret = secrets.token_urlsafe(16)
        with self._writing() as writer:
            self._check_open()
            if key in self._raters:
                raise RecordError(
                    f"“{self._raters[key].name}” rates this study already: choose another name, or, if that is you, go "
                    "on in the browser in which you began"
                )
            if len(self._raters) >= MAX_RATERS:
                raise RecordError(
                    f"this study has {MAX_RATERS} raters already, as many as it may have: ask its owner for another"
                )
            digest = sha256(secret.encode()).hexdigest()
            writer.append({"kind": "join", "rater": shown, "secret_sha256": digest, "at": time.time()})
        return Rater(shown, secret)

    def knows(self, rater: Rater) -> bool:
        """Whether `rater` has joined, and this is the secret that came of it."""
        with self._lock:
            self._update()
            try:
                self._state(rater)
            except RecordError:
                return False
            return True

    def upcoming(
        self, rater: Rater, *, count: int = 2, choose: Chooser | None = None, showing: str | None = None
    ) -> tuple[RatingItem, ...]:
        """What `rater` is shown next, and after that, so that it can be loaded ahead; at most `count`, none at the end.

        First come warm-ups, then all clips (or pairs) in an order of the rater's own, among them some a second time,
        far from the first (ITU-T P.910). What `choose` says comes before the random order. The item `showing`, a token,
        is the first while it has no answer. Clips that cannot be shown are left out.

        Raises:
            RecordError: if the study does not know `rater`.
        """
        with self._lock:
            self._update()
            state = self._state(rater)
            rounds = {what: rating.given for what, rating in state.rounds.items()}
            items: list[RatingItem] = []
            shown = self._of_token(state, showing or "")
            if shown is not None and shown not in rounds and self._can_be_shown(shown[1]):
                rounds[shown] = dict.fromkeys(self.study.dimensions, 0)
                items.append(self._item(state, shown))
            while len(items) < count and (what := self._next(state, rounds, choose)):
                rounds[what] = dict.fromkeys(self.study.dimensions, 0)  # as if it were answered
                items.append(self._item(state, what))
            return tuple(items)

    def progress(self, rater: Rater) -> RatingProgress:
        """How far `rater` is.

        Raises:
            RecordError: if the study does not know `rater`.
        """
        with self._lock:
            self._update()
            state = self._state(rater)
            firsts = {unit for round_, unit in state.rounds if round_ == "first"}
            left = sum(1 for unit in self._units if unit not in firsts and self._can_be_shown(unit))
            warm_ups = sum(1 for unit in self._warm_ups() if ("warm_up", unit) not in state.rounds)
            repeats = sum(1 for round_, _ in state.rounds if round_ == "repeat")
            # The repeats that are still due may be fewer in the end, where most clips cannot be judged.
            due = max(len(state.slots) - repeats, 0) if self._next(state, _answers(state), None) else 0
            total = len(state.rounds) + left + warm_ups + due
            times = [rating.at for rating in state.rounds.values()]
            gaps = [gap for gap in (after - before for before, after in pairwise(times)) if gap < LONG_PAUSE_SECONDS]
            seconds = median(gaps) * (total - len(times)) if len(gaps) >= MIN_TIMED else None
            judged = sum(
                round_ == "first" and any(value is not None for value in rating.given.values())
                for (round_, _), rating in state.rounds.items()
            )
            return RatingProgress(len(times), total, judged, seconds)

    def rate(
        self, rater: Rater, token: str, given: Mapping[str, Given] | None, *, seconds: float | None = None
    ) -> None:
        """Record what `rater` answers to the item `token`: by dimension a score, or a side, or None for “cannot judge”;
        `given` None is that for all. The same answer given twice, as by a second click, is recorded once.

        Raises:
            RecordError: if the answer is out of range, the item is none of the rater's or has another answer already,
                or the study has ended.
            BusyError, FolderError: if it cannot be written; then it is not recorded.
        """
        answer = check_given(given, self.study)
        with self._writing() as writer:
            self._check_open()
            state = self._state(rater)
            what = self._of_token(state, token)
            if what is None:
                raise RecordError("this item is not part of the study: reload the page")
            if before := state.rounds.get(what):
                if before.given == answer:
                    return
                raise RecordError("this item has another answer already: undo it first")
            line = {"kind": "rating", "rater": state.name, "round": what[0], "clips": self._sides(state, what)}
            took = {} if seconds is None else {"seconds": round(seconds, 2)}
            writer.append({**line, "given": answer, "at": time.time(), **took})

    def undo(self, rater: Rater) -> RatingItem | None:
        """Take back the last answer of `rater`; returns the item that waits for another one, None without answers.

        Raises:
            RecordError: if the study does not know `rater`, or has ended.
        """
        with self._writing() as writer:
            self._check_open()
            state = self._state(rater)
            if not state.rounds:
                return None
            what = next(reversed(state.rounds))
            clips = list(state.rounds[what].clips)
            writer.append({"kind": "undo", "rater": state.name, "round": what[0], "clips": clips, "at": time.time()})
            return self._item(state, what)

    def clip_file(self, key: str) -> Path:
        """The video of the clip `key`, for what shows it to a rater.

        Raises:
            RecordError: if the study has no such clip.
        """
        if key not in self._clips:
            raise RecordError(f"the study has no clip {key[:40]!r}")
        return self.folder / self._clips[key].video

    def played_file(self, key: str) -> Path:
        """What a browser plays for the clip `key`: a copy where browsers have no decoder for the clip itself.

        Raises:
            RecordError: if the study has no such clip.
        """
        file, preview = self.clip_file(key), self.folder / preview_path(key)
        return preview if preview.exists() else file

    # ---- the owner ---------------------------------------------------------------------------------------------------

    def skip_clip(self, key: str, reason: str) -> None:
        """From now on nobody is shown the clip `key`, which for this `reason` cannot be; the owner is told of both."""
        self.clip_file(key)
        with self._writing() as writer:
            if key not in self._skipped:
                writer.append({"kind": "skip", "clip": key, "reason": reason, "at": time.time()})

    def end(self, *, ended: bool = True) -> None:
        """No more answers from now on; `ended` False opens the study again. What was answered is kept."""
        with self._writing() as writer:
            if self._ended != ended:
                writer.append({"kind": "end" if ended else "reopen", "at": time.time()})

    @property
    def ended(self) -> bool:
        """Whether its owner takes no more answers."""
        with self._lock:
            self._update()
            return self._ended

    def ratings(self) -> tuple[Rating, ...]:
        """The answers of all raters that stand, in the order in which they were given."""
        with self._lock:
            self._update()
            ratings = [rating for state in self._raters.values() for rating in state.rounds.values()]
            return tuple(sorted(ratings, key=lambda rating: rating.at))

    def rated_clips(self) -> list[VideoRecord]:
        """The clips that have labels, in the order in which they were first rated, to learn from: their videos are
        those of the study, their labels the scores of `statistics`, without the raters' biases.

        A study of pairs has none.
        """
        ratings = [rating for rating in self.ratings() if rating.round != "warm_up"]
        if self.study.kind == "pairs":
            return []
        found = by_clip({name: dimension_ratings(ratings, name) for name in self.study.dimensions})
        labels: dict[str, dict[str, float]] = {rating.clips[0]: {} for rating in ratings}
        for name in self.study.dimensions:
            for key, score in found[name].items():
                labels[key][name] = score.mos
        return [self.record(key, each) for key, each in labels.items() if each]

    def record(self, key: str, labels: dict[str, float] | None = None) -> VideoRecord:
        """The clip `key` with `labels`, as what learns takes it."""
        clip = self._clips[key]
        return VideoRecord(clip.name, self.clip_file(key), clip.prompt, labels or {}, line=0)

    def statistics(self) -> StudyStatistics:
        """What all ratings say; a number that is undefined is None and says why."""
        ratings = self.ratings()
        with self._lock:
            raters = {state.name for state in self._raters.values()}
            skipped = {self._clips[key].name: reason for key, reason in self._skipped.items()}
            ended = self._ended
        of_clips = self.study.kind == "clips"
        clips = {name: self._named(dimension_ratings(ratings, name)) for name in self.study.dimensions if of_clips}
        pairs = {} if of_clips else {name: pair_ratings(ratings, name) for name in self.study.dimensions}
        return StudyStatistics(
            title=self.study.title,
            num_clips=len(self.study.clips),
            num_raters=len(raters),
            num_answers=sum(rating.round != "warm_up" for rating in ratings),
            dimensions=clips,
            pairs=pairs,
            skipped=skipped,
            ended=ended,
            notes=tuple(rating_notes(clips, pairs, skipped)),
        )

    def _named(self, found: DimensionRatings) -> DimensionRatings:
        """`found`, whose clips say their names and prompts."""
        clips = ((score, self._clips[score.key]) for score in found.clips)
        return replace(found, clips=tuple(replace(score, name=clip.name, prompt=clip.prompt) for score, clip in clips))

    def export(self, folder: str | Path, *, plain: bool = False, videos: bool = False) -> tuple[Path, ...]:
        """Write the tables of the study into `folder`, which is new or empty: all or none; returns the files.

        Of clips: labels.csv, a row a clip, whose labels are without the raters' biases (`data.raters`) or, where
        `plain`, plain means; ratings.csv, a row a rating; and scores.csv, a row a clip with both, the intervals and the
        numbers of raters. Of pairs: pairs.csv, a row an answer, without repeats. `videos` copies the clips beside them,
        so that the folder is a data set.

        Raises:
            RecordError: if nobody has rated anything yet.
            FolderError: if `folder` holds something, or cannot be written.
        """
        ratings = [rating for rating in self.ratings() if rating.round != "warm_up"]
        folder = Path(folder)
        if not any(value is not None for rating in ratings for value in rating.given.values()):
            raise RecordError("nobody has rated anything in this study yet: there is nothing to export")
        with writing(folder, advice="its disk must have room for the tables and the clips"), new_folder(folder) as new:
            new.chmod(0o755)  # as folders are by default; a temporary one is private
            if self.study.kind == "pairs":
                write_answers(new / PAIRS_TABLE, self.study, ratings)
                names = [PAIRS_TABLE]
            else:
                write_ratings(new / RATINGS_TABLE, self.study, ratings)
                found = {name: dimension_ratings(ratings, name) for name in self.study.dimensions}
                write_mean_scores(new / LABELS_FILE, self.study.clips, by_clip(found), plain=plain)
                write_scores(new / SCORES_TABLE, self.study, by_clip(found))
                names = [LABELS_FILE, RATINGS_TABLE, SCORES_TABLE]
            for clip in self.study.clips if videos else ():
                copy = new / VIDEOS_FOLDER / clip.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                if not copy.exists():  # a video that was made from two prompts is there twice
                    shutil.copyfile(self.folder / clip.video, copy)
        return tuple(folder / name for name in names)

    def export_zip(self, archive: Path, *, videos: bool = False) -> tuple[str, ...]:
        """Write what `export` writes as one zip, whole or not at all; returns the names of the tables.

        Raises:
            RecordError, FolderError: as `export`.
        """
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            tables = self.export(Path(folder) / "ratings", videos=videos)
            with writing(archive, advice="its disk must have room for the tables and the clips"):
                Path(shutil.make_archive(f"{folder}/ratings", "zip", Path(folder) / "ratings")).replace(archive)
        return tuple(table.name for table in tables)

    # ---- what the log says -------------------------------------------------------------------------------------------

    def _update(self) -> None:
        """Read what other threads and processes have written."""
        for line in self._log.new_lines():
            if line is None:
                self._raters, self._skipped, self._ended = {}, {}, False
                continue
            try:
                self._apply(line)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise RecordError(
                    f"{self.folder}: a line of ratings.jsonl is none of this program's: {shortened(str(line), 40)}"
                ) from error

    def _apply(self, line: Mapping[str, Any]) -> None:
        kind = line["kind"]
        if kind == "join":
            state = _State(line["rater"], line["secret_sha256"])
            self._raters[rater_key(state.name)] = state
        elif kind == "rating":
            state, clips = self._raters[rater_key(line["rater"])], tuple(line["clips"])
            what: tuple[Round, Unit] = (line["round"], tuple(sorted(clips)))
            state.rounds[what] = Rating(
                state.name, clips, line["round"], line["given"], float(line["at"]), line.get("seconds")
            )
        elif kind == "undo":
            state = self._raters[rater_key(line["rater"])]
            del state.rounds[line["round"], tuple(sorted(line["clips"]))]
        elif kind == "skip":
            self._skipped[line["clip"]] = line["reason"]
        elif kind in ("end", "reopen"):
            self._ended = kind == "end"
        else:
            raise ValueError(kind)

    @contextmanager
    def _writing(self) -> Iterator[LineWriter]:
        """Alone, and knowing all lines so far; what the block writes is known after it."""
        with self._lock, self._log.exclusive() as writer:
            self._update()
            yield writer
            self._update()

    def _state(self, rater: Rater) -> _State:
        state = self._raters.get(rater_key(rater.name))
        digest = sha256(rater.secret.encode(errors="surrogatepass")).hexdigest()
        if state is None or not hmac.compare_digest(state.secret_sha256, digest):
            name = shortened(well_formed(rater.name), 40)
            raise RecordError(f"this study does not know the rater “{name}”: give a name to begin")
        if not state.order:
            self._prepare(state)
        return state

    def _check_open(self) -> None:
        if self._ended:
            raise RecordError("this study has ended: its owner takes no more answers; those you gave are kept")
        if self._log.is_full:
            raise RecordError("this study is full: it takes no more answers; those you gave are kept; tell its owner")

    # ---- the order ---------------------------------------------------------------------------------------------------

    def _prepare(self, state: _State) -> None:
        """The rater's own order, seeded, and the places of repeats in it: they depend on nothing else."""
        rng = self._random(rater_key(state.name))
        units = list(self._units)
        order = [units[place] for place in rng.permutation(len(units))]
        # What was just shown as a warm-up is new again only after a while, and one prompt twice in a row is tiring.
        for unit in self._practice:
            order.remove(unit)
            order.insert(int(rng.integers(len(order) // 2, len(order) + 1)), unit)
        prompts = {unit: self._prompt(unit) for unit in order}
        for place in range(1, len(order) if len(set(prompts.values())) > 1 else 0):
            before = prompts[order[place - 1]]
            later = next((at for at in range(place, len(order)) if prompts[order[at]] != before), None)
            if later is None:
                break  # one prompt is all that is left
            order[place], order[later] = order[later], order[place]
        state.order = order
        num = -(-len(order) // round(1 / REPEAT_SHARE)) if len(order) >= 4 else 0
        # Answer number `slot` is a repeat: late enough for each to have a clip that was shown `_gap` answers before.
        earliest = self._gap + 2 * num
        slots = range(min(earliest, len(order)), len(order) + num)
        state.slots = frozenset(int(slots[place]) for place in rng.permutation(len(slots))[:num])

    @property
    def _gap(self) -> int:
        """How many others come at least between a clip and its repeat."""
        return max(2, len(self._units) // 3)

    def _random(self, *what: str) -> np.random.Generator:
        """Random numbers that depend on the study's seed and on `what` alone."""
        digest = sha256("\n".join((str(self.study.seed), *what)).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16]))

    def _warm_ups(self) -> list[Unit]:
        """What every rater practises on; none where there is little to rate. One that cannot be shown is left out."""
        return [unit for unit in self._practice if self._can_be_shown(unit)]

    def _next(
        self, state: _State, rounds: Mapping[tuple[Round, Unit], Mapping[str, Given]], choose: Chooser | None
    ) -> tuple[Round, Unit] | None:
        """What comes after the answers of `rounds`, in their order."""
        for unit in self._warm_ups():
            if ("warm_up", unit) not in rounds:
                return "warm_up", unit
        unseen = (unit for unit in state.order if ("first", unit) not in rounds and self._can_be_shown(unit))
        first = next(unseen, None)  # the others are of interest to a chooser alone
        num_answered = len(rounds) - sum(("warm_up", unit) in rounds for unit in self._practice)
        if num_answered in state.slots or first is None:
            answered = [what for what in rounds if what[0] != "warm_up"]
            is_due = sum(round_ == "repeat" for round_, _ in answered) < len(state.slots)
            repeat = self._repeat(answered, rounds, state) if is_due else None
            if repeat is not None:
                return "repeat", repeat
        if first is None:
            return None
        return "first", (choose([first, *unseen]) if choose else first)

    def _repeat(
        self,
        answered: Sequence[tuple[Round, Unit]],
        rounds: Mapping[tuple[Round, Unit], Mapping[str, Given]],
        state: _State,
    ) -> Unit | None:
        """Something that was judged at least `_gap` answers ago and not twice yet; None without."""
        early = [
            unit
            for round_, unit in answered[: max(len(answered) - self._gap, 0)]
            if round_ == "first"
            and ("repeat", unit) not in rounds
            and self._can_be_shown(unit)
            and any(value is not None for value in rounds["first", unit].values())
        ]
        if not early:
            return None
        return early[int(self._random(rater_key(state.name), str(len(answered))).integers(len(early)))]

    def _can_be_shown(self, unit: Unit) -> bool:
        return self._skipped.keys().isdisjoint(unit)

    def _prompt(self, unit: Unit) -> str:
        return self._clips[unit[0]].prompt

    def _sides(self, state: _State, what: tuple[Round, Unit]) -> list[str]:
        """The keys as they are shown, left first: sides are random, and a repeat turns them around."""
        round_, unit = what
        turned = bool(self._random("sides", rater_key(state.name), *unit).integers(2))
        return list(reversed(unit)) if turned != (round_ == "repeat") else list(unit)

    def _item(self, state: _State, what: tuple[Round, Unit]) -> RatingItem:
        sides = tuple(self._sides(state, what))
        return RatingItem(self._token(state, what), sides, self._prompt(what[1]), what[0] == "warm_up")

    def _token(self, state: _State, what: tuple[Round, Unit]) -> str:
        """What stands for an item: its number under a pad, and the digest that the pad and the check are made of. So
        nothing has to be kept, and a rater cannot tell what is a repeat."""
        number = ROUNDS.index(what[0]) * len(self._units) + self._places[what[1]]
        digest = self._digest(state, "number", str(number))
        return digest + f"{number ^ int(self._digest(state, 'pad', digest)[:8], 16):08x}"

    def _of_token(self, state: _State, token: str) -> tuple[Round, Unit] | None:
        """What `token` stands for; None if it is none of this rater's."""
        try:
            number = int(token[-8:], 16) ^ int(self._digest(state, "pad", token[:-8])[:8], 16)
        except ValueError:
            return None
        if not 0 <= number < len(ROUNDS) * len(self._units):
            return None
        what = ROUNDS[number // len(self._units)], self._units[number % len(self._units)]
        return what if self._token(state, what) == token else None

    def _digest(self, state: _State, *what: str) -> str:
        """Known to nobody without the study's seed."""
        key = f"{self.study.id}\n{self.study.seed}".encode()
        text = "\n".join((rater_key(state.name), *map(well_formed, what)))
        return hmac.new(key, text.encode(), "sha256").hexdigest()[:24]


def _answers(state: _State) -> dict[tuple[Round, Unit], Mapping[str, Given]]:
    return {what: rating.given for what, rating in state.rounds.items()}


_open: dict[Path, tuple[tuple[int, int], OpenStudy]] = {}
_open_lock = threading.Lock()
MAX_OPEN = 64  # studies that a process keeps in memory


def open_study(folder: str | Path) -> OpenStudy:
    """The study in `folder`: one object for all threads of this process, so that its log is read once.

    Raises:
        RecordError: if `folder` holds no study.
    """
    path = Path(folder).absolute()
    try:
        found = (path / STUDY_FILE).stat()
        version = (found.st_ino, found.st_mtime_ns)
    except OSError:
        version = (0, 0)  # `read_study` says what is wrong
    with _open_lock:
        known = _open.pop(path, None)  # the one that was used last comes last
        _open[path] = known if known and known[0] == version else (version, OpenStudy(path))
        while len(_open) > MAX_OPEN:
            del _open[next(iter(_open))]
        return _open[path][1]


def find_study(folders: Iterable[str | Path], study_id: str) -> OpenStudy:
    """The study with the link `study_id` among `folders`.

    Raises:
        RecordError: if it is in none of them.
    """
    for folder in folders:
        try:
            study = open_study(folder)
        except RecordError:
            continue  # not a study, or one that was deleted
        if hmac.compare_digest(study.study.id.encode(), study_id.encode(errors="surrogatepass")):
            return study
    raise RecordError("this link leads to no study: it was deleted, or the link is not complete; ask its owner")
