"""What every run does beside its steps."""

from abair_pl.modules.callbacks.agreement import RankAgreement
from abair_pl.modules.callbacks.artifacts import ArtifactLogger
from abair_pl.modules.callbacks.averaging import ExponentialMovingAverage
from abair_pl.modules.callbacks.checkpoints import RollingCheckpoint
from abair_pl.modules.callbacks.clock import TrainingClock
from abair_pl.modules.callbacks.panels import PanelLogger, draw_panel, rows_to_draw
from abair_pl.modules.callbacks.predictions import PredictionWriter
from abair_pl.modules.callbacks.preemption import PreemptionHandler
from abair_pl.modules.callbacks.progress_lines import ProgressLines
from abair_pl.modules.callbacks.random_state import RandomStates
from abair_pl.modules.callbacks.record import RunRecorder
from abair_pl.modules.callbacks.tables import TableLogger
from abair_pl.modules.callbacks.throughput import ThroughputMonitor

__all__ = [
    "ArtifactLogger",
    "ExponentialMovingAverage",
    "PanelLogger",
    "PredictionWriter",
    "PreemptionHandler",
    "ProgressLines",
    "RandomStates",
    "RankAgreement",
    "RollingCheckpoint",
    "RunRecorder",
    "TableLogger",
    "ThroughputMonitor",
    "TrainingClock",
    "draw_panel",
    "rows_to_draw",
]
