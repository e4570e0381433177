"""The clips of the Compare tab with their prompts and scores, and what can be done with them; free of Gradio."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vjepa_demo.config import MAX_COMPARED, MIN_COMPARED
from vjepa_demo.schema import Comparison, VideoScores

Outcome = VideoScores | str  # the scores of a clip, or why there are none


@dataclass(frozen=True)
class Clip:
    """A video on the board. `path` is None where only its scores are known, from a comparison that was opened again.

    `key` tells it from every other clip, even one of the same file. `model` is the model choice that gave its scores;
    None where they are from a file.
    """

    name: str
    path: Path | None
    sha256: str | None = None
    result: VideoScores | None = None
    error: str | None = None
    model: str | None = None
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Board:
    """Up to four clips from left to right, and the prompts they are scored with: one for all, or one each.

    While there is one for all, `own` holds what was typed for single clips, and "" for the others.
    """

    clips: tuple[Clip, ...] = ()
    shared: str = ""
    each: bool = False
    own: tuple[str, ...] = ("",) * MAX_COMPARED

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt of each clip."""
        return tuple(self.own[index] if self.each else self.shared for index in range(len(self.clips)))

    @property
    def is_full(self) -> bool:
        return len(self.clips) == MAX_COMPARED

    @property
    def absent(self) -> tuple[Clip, ...]:
        """Clips whose scores are here and whose video is not."""
        return tuple(clip for clip in self.clips if clip.path is None)

    @property
    def scored(self) -> tuple[int, ...]:
        """Indices of the clips that have scores."""
        return tuple(index for index, clip in enumerate(self.clips) if clip.result is not None)

    @property
    def failed(self) -> tuple[Clip, ...]:
        """Clips that could not be scored."""
        return tuple(clip for clip in self.clips if clip.error is not None)

    @property
    def comparison(self) -> Comparison | None:
        """The scores there are, side by side; None where fewer than two clips have some."""
        results = tuple(clip.result for clip in self.clips if clip.result is not None)
        return Comparison(results) if len(results) >= MIN_COMPARED else None

    def is_stale(self, model: str) -> bool:
        """Whether a clip has no scores yet, or scores for another prompt or of another model than are chosen now."""
        for clip, prompt in zip(self.clips, self.prompts, strict=True):
            if clip.result is None:
                if clip.error is None:
                    return True
            elif (clip.result.prompt, clip.model or clip.result.model) != (prompt.strip(), model):
                return True
        return False

    def with_clip(self, path: Path, prompt: str = "") -> Board:
        """The board with one more clip, at the right. A `prompt` that differs from the shared one gives each its own.

        Where each has its own, a clip that comes without a prompt has none: nobody would notice another clip's prompt.
        """
        index = len(self.clips)
        board = replace(self, clips=(*self.clips, Clip(path.name, path)))._with_own(index, "")
        if self.each:
            return board._with_own(index, prompt)
        if not prompt or prompt == self.shared:
            return board
        if index == 0 or not self.shared.strip():
            return replace(board, shared=prompt)
        return board.switched(each=True)._with_own(index, prompt)

    def _with_own(self, index: int, prompt: str) -> Board:
        return replace(self, own=(*self.own[:index], prompt, *self.own[index + 1 :]))

    def switched(self, *, each: bool) -> Board:
        """One prompt for each clip, or one for all.

        A clip without its own prompt gets the shared one; a missing shared prompt becomes the first clip's. Switched to
        one for all, the board forgets own prompts that equal it, so that they follow it when they come back.
        """
        if each:
            filled = [own if own.strip() else self.shared for own in self.own[: len(self.clips)]]
            return replace(self, each=True, own=(*filled, *self.own[len(self.clips) :]))
        shared = self.shared if self.shared.strip() else self.own[0]
        kept = tuple("" if own.strip() == shared.strip() else own for own in self.own)
        return replace(self, each=False, shared=shared, own=kept)

    def _place_of(self, key: str) -> int | None:
        return next((index for index, clip in enumerate(self.clips) if clip.key == key), None)

    def moved(self, key: str, by: int) -> Board:
        """The board with the clip `key` and the one `by` places to its right swapped; the clip may be gone."""
        index = self._place_of(key)
        if index is None or not 0 <= index + by < len(self.clips):
            return self
        other = index + by
        clips, own = list(self.clips), list(self.own)
        clips[index], clips[other] = clips[other], clips[index]
        own[index], own[other] = own[other], own[index]
        return replace(self, clips=tuple(clips), own=tuple(own))

    def removed(self, key: str) -> Board:
        """The board without the clip `key`, which may be gone already; those to its right move up."""
        index = self._place_of(key)
        if index is None:
            return self
        return replace(
            self,
            clips=self.clips[:index] + self.clips[index + 1 :],
            own=(*self.own[:index], *self.own[index + 1 :], ""),
        )

    def found(self, path: Path, sha256: str) -> Board | None:
        """The board with `path` as the video of an absent clip that has the same content; None if there is none."""
        for index, clip in enumerate(self.clips):
            if clip.path is None and clip.sha256 == sha256:
                here = replace(clip, path=path)
                return replace(self, clips=(*self.clips[:index], here, *self.clips[index + 1 :]))
        return None

    def with_outcomes(self, outcomes: Mapping[str, Outcome], *, model: str) -> Board:
        """The board with what scoring with the model choice `model` gave, by the clips' keys. Clips that were moved or
        removed meanwhile stay so."""
        clips = []
        for clip in self.clips:
            outcome = outcomes.get(clip.key)
            if isinstance(outcome, str):
                clip = replace(clip, result=None, error=outcome, model=model)
            elif outcome is not None:
                clip = replace(clip, result=outcome, error=None, model=model, sha256=outcome.sha256)
            clips.append(clip)
        return replace(self, clips=tuple(clips))


def board_of(comparison: Comparison) -> Board:
    """The board of a comparison that was opened again: names, prompts and scores; the videos are not in it."""
    prompts = [result.prompt for result in comparison.results]
    clips = tuple(
        Clip(Path(result.video).name, None, sha256=result.sha256, result=result) for result in comparison.results
    )
    board = Board(clips, shared=prompts[0])
    if len(set(prompts)) == 1:
        return board
    return replace(board, each=True, own=(*prompts, *board.own[len(prompts) :]))
