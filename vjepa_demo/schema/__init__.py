"""The values that pass between folders, free of torch, and the errors that a person is meant to read."""

# ruff: noqa: F401 - imported for those who import from here

from vjepa_demo.schema.agreement import METRICS, Coverage, DimensionMetrics, Evaluation, Gain
from vjepa_demo.schema.batch import BatchReport, BatchRow, BatchSummary, BatchTable, GroupScores, RowResult
from vjepa_demo.schema.errors import (
    BusyError,
    CheckpointError,
    DemoError,
    FolderError,
    JobError,
    ModelError,
    PassingJobError,
    PassingVideoError,
    RecordError,
    StoppedError,
    VideoError,
)
from vjepa_demo.schema.estimate import UNDEFINED, Estimate
from vjepa_demo.schema.labels import (
    DimensionSummary,
    LabelRange,
    PairRecord,
    Ratings,
    RecordProblem,
    RecordSet,
    RecordSummary,
    Split,
    SplitName,
    VideoRecord,
    clips_of,
    rated,
    summarise,
)
from vjepa_demo.schema.learning import DEFAULT_STRATEGY, MIN_RATED_CLIPS, Learned, Strategy, curve_sizes
from vjepa_demo.schema.pairs import ANSWERS, Answer, PairAccuracy, PairEvaluation, PairsLearned
from vjepa_demo.schema.reports import (
    CopyingReport,
    CountingReport,
    DrawingReport,
    EncodingReport,
    EpochReport,
    FetchingReport,
    FirstHead,
    Hardware,
    JobPhase,
    JobReport,
    LayersReport,
    OpeningReport,
    PlanReport,
    PredictedClip,
    RentedJob,
    RunPhase,
    ScoringReport,
    SplitReport,
    StartReport,
    TimedReport,
    TrainingData,
    TrainingReport,
    TrainingResult,
    UploadingReport,
)
from vjepa_demo.schema.scores import (
    CLEAR_STANDARD_ERRORS,
    SCORE_DECIMALS,
    WORD,
    Comparison,
    Doubt,
    Interval,
    LabelSource,
    Standing,
    TrainedOn,
    VideoScores,
    check_prompt,
    content_digest,
    doubts,
    doubts_text,
    intervals,
    judging_prompt,
    prompt_key,
    standing,
    to_compare,
    words_of,
)
from vjepa_demo.schema.text import as_markdown, well_formed
