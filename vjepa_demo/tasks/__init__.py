"""What a person can ask for, each a function or a generator of reports; loaded when it is first used.

Interfaces import this package alone: so a page is painted, and a wrong call refused, before torch is loaded.
"""

# ruff: noqa: F401 - the imports tell type checkers and editors what `attach` loads

from __future__ import annotations

from typing import TYPE_CHECKING

from vjepa_demo.lazy import attach

if TYPE_CHECKING:
    from vjepa_demo.tasks.background import Bootstrapper
    from vjepa_demo.tasks.batch import run_batch, summarise_batch
    from vjepa_demo.tasks.batch_table import batch_of_files, check_out, read_batch
    from vjepa_demo.tasks.bootstrap import bootstrap_head
    from vjepa_demo.tasks.cache import cache_size
    from vjepa_demo.tasks.dataset import make_dataset
    from vjepa_demo.tasks.decoding import prepare_decoding
    from vjepa_demo.tasks.evaluate import evaluate_model
    from vjepa_demo.tasks.hosted import Hosted, hosted_model
    from vjepa_demo.tasks.jobs import JobFollower, JobOrder, known_job, list_hardware, start_job
    from vjepa_demo.tasks.labels import check_labels, read_rows, write_predictions
    from vjepa_demo.tasks.launch import default_device, from_main_process, training_device
    from vjepa_demo.tasks.learn import Learner
    from vjepa_demo.tasks.rate import OpenStudy, find_study, open_study
    from vjepa_demo.tasks.score import (
        Scorer,
        default_model,
        find_checkpoint,
        get_scorer,
        load_scorer,
        loaded_scorers,
    )
    from vjepa_demo.tasks.studies import check_unplayable, delete_study, keep_study, linked_study, owned_study
    from vjepa_demo.tasks.study import make_study
    from vjepa_demo.tasks.study_learner import StudyLearner
    from vjepa_demo.tasks.study_push import push_study
    from vjepa_demo.tasks.train import fine_tune
    from vjepa_demo.tasks.transfer import (
        extract_videos,
        fetch_public_checkpoint,
        load_uploaded_checkpoint,
        push_checkpoint,
        reserve_checkpoint,
        write_preview,
        zip_checkpoint,
    )
    from vjepa_demo.tasks.zero_gpu import place

_HOMES = {
    "batch": ("run_batch", "summarise_batch"),
    "batch_table": ("batch_of_files", "check_out", "read_batch"),
    "background": ("Bootstrapper",),
    "bootstrap": ("bootstrap_head",),
    "cache": ("cache_size",),
    "dataset": ("make_dataset",),
    "decoding": ("prepare_decoding",),
    "evaluate": ("evaluate_model",),
    "jobs": ("JobFollower", "JobOrder", "known_job", "list_hardware", "start_job"),
    "hosted": ("Hosted", "hosted_model"),
    "labels": ("check_labels", "read_rows", "write_predictions"),
    "launch": ("default_device", "from_main_process", "training_device"),
    "learn": ("Learner",),
    "rate": ("OpenStudy", "find_study", "open_study"),
    "score": ("Scorer", "default_model", "find_checkpoint", "get_scorer", "load_scorer", "loaded_scorers"),
    "studies": ("check_unplayable", "delete_study", "keep_study", "linked_study", "owned_study"),
    "study": ("make_study",),
    "study_learner": ("StudyLearner",),
    "study_push": ("push_study",),
    "train": ("fine_tune",),
    "transfer": (
        "extract_videos",
        "fetch_public_checkpoint",
        "load_uploaded_checkpoint",
        "push_checkpoint",
        "reserve_checkpoint",
        "write_preview",
        "zip_checkpoint",
    ),
    "zero_gpu": ("place",),
}

__getattr__ = attach(__name__, {name: home for home, names in _HOMES.items() for name in names})
