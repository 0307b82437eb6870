"""Which run of which pipeline this is, for W&B and TensorBoard: one project, a group for the three phases."""

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from abair_pl.atomic import write_text
from abair_pl.bundle import Bundle
from abair_pl.data.streaming.sources import told
from abair_pl.errors import InputError, one_line

RUN_FILE = "tracking.json"
"""Beside the checkpoints of a run: which W&B run it is."""

_PROJECT = "abair-pl"
_KEYWORDS = ("last", "best", "hpc", "registry")
_SECRET = re.compile(r"api_?key|token|password|secret", re.IGNORECASE)


@dataclass(frozen=True)
class TrackingConfig:
    """Where a run is tracked, beside the loggers of the trainer.

    Attributes:
        wandb: online, or offline: on this machine alone, until wandb sync; not at all if left out.
        tensorboard: Whether TensorBoard's files are written, too.
        project: W&B project; if left out, that of the runs that made the bundle, or abair-pl.
        group: W&B group, the same for the phases of a pipeline; if left out, that of the runs that made the bundle.
        name: Name of the run; by its phase if left out, such as adapter-rain.
        tags: W&B tags.
    """

    wandb: Literal["online", "offline"] | None = None
    tensorboard: bool = False
    project: str | None = None
    group: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = [name for name in ("project", "group", "name", "tags") if getattr(self, name)]
        if given and self.wandb is None:
            message = f"--tracking.{given[0]} is W&B's; expected --tracking.wandb online or offline with it"
            raise InputError(message)


@dataclass(frozen=True)
class RunRecord:
    """What a resumed run, and the next phase, need to know of a W&B run.

    Attributes:
        project: Its project.
        group: Its group.
        run: Its id.
    """

    project: str
    group: str
    run: str

    @property
    def facts(self) -> dict[str, str]:
        """For the provenance of a bundle."""
        return {f"wandb_{name}": value for name, value in asdict(self).items()}

    @classmethod
    def of_run(cls, run: Any) -> "RunRecord":
        """That of an open run; one without a group counts as a group of its own."""
        return cls(str(run.project), str(run.group or run.id), str(run.id))

    @classmethod
    def of_bundle(cls, bundle: Bundle | None) -> "RunRecord | None":
        """The first run that made a bundle, if it was tracked."""
        for facts in bundle.config.provenance.values() if bundle else ():
            if (record := cls.of_facts(facts)) is not None:
                return record
        return None

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "RunRecord | None":
        """The run of a phase by its facts in a bundle's provenance, if it was tracked."""
        values = [facts.get(f"wandb_{name}") for name in ("project", "group", "run")]
        return cls(*map(str, values)) if all(values) else None

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path | None) -> "RunRecord | None":
        """The run that a checkpoint belongs to, if it was tracked.

        Args:
            checkpoint: Its path; of a keyword of Lightning's, such as ``last``, nothing is known.

        Raises:
            InputError: The file beside the checkpoint is damaged.
        """
        file = Path(checkpoint or "").parent / RUN_FILE
        if checkpoint is None or str(checkpoint).partition(":")[0] in _KEYWORDS or not file.is_file():
            return None
        try:
            return cls(**{name: str(value) for name, value in json.loads(file.read_text()).items()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            message = f"{file} is damaged ({error}); expected project, group and run: remove it to start a new W&B run"
            raise InputError(message) from error

    def write(self, folder: Path) -> None:
        """Write the file beside checkpoints."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RUN_FILE, json.dumps(asdict(self), indent=2) + "\n")


@dataclass(frozen=True)
class RunIdentity:
    """What W&B is told about a run.

    Attributes:
        record: Project, group and id.
        name: What it is called.
        job_type: The phase, or the command where that is not ``fit``.
    """

    record: RunRecord
    name: str
    job_type: str


def identify(
    config: TrackingConfig,
    command: str,
    phase: str,
    preset: str,
    start: Bundle | None,
    checkpoint: str | Path | None,
) -> RunIdentity:
    """Which run this is: that of the checkpoint if it resumes one, else a new one in the group of its bundle.

    Args:
        config: What the user says, which goes first.
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        phase: As in the provenance of a bundle, such as ``adapter/rain``.
        preset: The preset of a backbone that is trained from scratch, for the name of its group.
        start: The bundle that the phase starts from.
        checkpoint: The checkpoint that it resumes or measures, as :meth:`RunRecord.of_checkpoint` takes it.

    Raises:
        InputError: The file beside the checkpoint is damaged.
    """
    resumed, made = RunRecord.of_checkpoint(checkpoint), RunRecord.of_bundle(start)
    known = resumed or made
    project = config.project or (known.project if known else os.environ.get("WANDB_PROJECT", _PROJECT))
    same = command == "fit" and resumed is not None and resumed.project == project
    run = resumed.run if same and resumed else os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
    lineage = f"{start.config.preset}-{start.config.backbone_sha256[:8]}" if start else f"{preset}-{run}"
    group = config.group or (known.group if known else lineage)
    kind, name = phase.partition("/")[0], phase.replace("/", "-")
    title = config.name or (name if command == "fit" else f"{name}-{command}")
    return RunIdentity(RunRecord(project, group, run), title, kind if command == "fit" else command)


def tells_a_secret(word: str) -> bool:
    """Whether a word of a command line has, or names, what should not leave this machine."""
    return _SECRET.search(word) is not None or told(word) != word


def without_secrets(value: Any) -> Any:
    """Settings as they may leave this machine: without passwords, queries of addresses and shell commands."""
    if isinstance(value, Mapping):
        kept = {name: entry for name, entry in value.items() if not _is_secret(name)}
        return {without_secrets(name): without_secrets(entry) for name, entry in kept.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(entry) for entry in value]
    return told(value) if isinstance(value, str) else value


def _is_secret(name: Any) -> bool:
    """Whether a setting of this name is one; a source is none, whatever is in its address."""
    return str(name).isidentifier() and _SECRET.search(str(name)) is not None


@contextmanager
def going_on(what: str, remedy: str = "") -> Iterator[None]:
    """Let no error of W&B end a training, or fail one that is done: say it in one line, and go on.

    Args:
        what: What is done with W&B, such as ``to log the panel``.
        remedy: What the user can do about it.
    """
    try:
        yield
    except Exception as error:  # whatever W&B raises
        said = one_line(str(error)) or type(error).__name__
        rank_zero_warn(f"W&B failed {what} ({said}); the run goes on without it{remedy}")


def wandb_loggers(trainer: L.Trainer) -> list[WandbLogger]:
    """The W&B loggers of a trainer on rank 0, the only one that may log, without those that WANDB_MODE has disabled."""
    if not trainer.is_global_zero:
        return []
    found = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    return [logger for logger in found if not logger.experiment.disabled]


def logged_step(trainer: L.Trainer) -> int:
    """The step under which Lightning logs the measures of this moment.

    It counts from 0, and after a resumption from a checkpoint of a validation one step more than were done.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped
