"""Errors that a person can mend: the message says what was got, what was expected and what to do."""

from __future__ import annotations

from vjepa_demo.schema.text import well_formed


class DemoError(Exception):
    """Something the person can mend. Interfaces show the message; any other exception is a bug."""

    def __str__(self) -> str:
        return well_formed(super().__str__())  # it may quote a prompt or the name of a file


class VideoError(DemoError):
    """A file that cannot be scored as a video."""


class PassingVideoError(VideoError):
    """A file that could not be read now, by no fault of its own: another try may do."""


class RecordError(DemoError):
    """A prompt, a table or a row of labels that cannot be used."""


class CheckpointError(DemoError):
    """A checkpoint that is missing, incomplete or not one of this program's."""


class ModelError(DemoError):
    """A model that cannot be loaded, or that must not score."""


class JobError(DemoError):
    """A job on rented hardware that cannot be started, followed or cancelled."""


class PassingJobError(JobError):
    """The Hub did not answer, or was too busy: another try may do."""


class StoppedError(DemoError):
    """What ran was stopped by the person it ran for, or that person has left."""


class BusyError(DemoError):
    """Another process, or another run, does this very thing now."""


class FolderError(DemoError):
    """A folder that holds something where an empty one was expected, or a place that cannot be written."""
