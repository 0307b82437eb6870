"""``abair-pl fit|validate|test|predict``: LightningCLI over the three modules and the datamodule."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.errors import AbairError, InputError, one_line

# Registered by the imports, so that configurations may name them without their package.
from abair_pl.modules.adapter import AdapterModule
from abair_pl.modules.base import RestorationModule
from abair_pl.modules.estimator import EstimatorModule
from abair_pl.modules.pretrain import PretrainModule
from abair_pl.modules.tracking import (
    RunIdentity,
    TrackingConfig,
    finish_run,
    going_on,
    identify,
    logger_error,
    make_loggers,
    open_run,
    wandb_loggers,
    without_secrets,
)

__all__ = ["AdapterModule", "EstimatorModule", "PretrainModule", "RestorationDataModule", "run_trainer"]


class VersionedConfig(SaveConfigCallback):
    """Saves the configuration beside the logs as ``config.yaml``, or ``config-1.yaml`` where there is one already.

    W&B gets it, too, without passwords.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose a free name, then save."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        taken = len(list(folder.glob("config*.yaml")))
        self.config_filename = f"config-{taken}.yaml" if taken else "config.yaml"
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give it to W&B."""
        values = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for logger in wandb_loggers(trainer):
            run = logger.experiment
            with going_on("to keep the configuration"):
                run.config.update(without_secrets(values), allow_val_change=True)


class AbairCLI(LightningCLI):
    """LightningCLI whose wrong arguments are one line, and whose checkpoints do not override arguments."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """The parser, reporting errors as exceptions."""
        return super().init_parser(**{**kwargs, "exit_on_error": False})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Beside model, data and trainer: where runs are tracked."""
        parser.add_class_arguments(TrackingConfig, "tracking")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, with the loggers of its own and those of the tracking."""
        tracking: TrackingConfig = self._get(self.config_init, "tracking")
        if tracking.wandb is None and not tracking.tensorboard:
            return super().instantiate_trainer(**kwargs)
        settings = self._get(self.config_init, "trainer")
        folder, given = Path(settings.default_root_dir or Path.cwd()), settings.logger
        if given is None or given is True:
            given = CSVLogger(folder, "logs")
        loggers = list(given) if isinstance(given, Iterable) else [given] if given else []
        if tracking.wandb and any(isinstance(logger, WandbLogger) for logger in loggers):
            message = "both trainer.logger and tracking.wandb are W&B; expected one of them: leave out trainer.logger"
            raise InputError(message)
        identity = self._identity(tracking, folder) if tracking.wandb else None
        return super().instantiate_trainer(logger=[*loggers, *make_loggers(tracking, identity, folder)], **kwargs)

    def _identity(self, tracking: TrackingConfig, root: Path) -> RunIdentity:
        module, checkpoint = self.model, self._get(self.config_init, "ckpt_path")
        preset = str(module.hparams.get("preset", module.phase))
        return identify(tracking, str(self.subcommand), module.phase, preset, module.bundle, checkpoint, root)

    def _parse_ckpt_path(self) -> None:
        """Lightning would let a checkpoint's hyper-parameters silently replace the given ones; the module compares."""


def run_trainer(arguments: ArgsType) -> None:
    """Run a trainer subcommand.

    Args:
        arguments: ``fit``, ``validate``, ``test`` or ``predict``, followed by its options.

    Raises:
        InputError: An argument or a configuration file is wrong.
    """
    before, failed = open_run(), True
    try:
        AbairCLI(
            RestorationModule,
            RestorationDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=VersionedConfig,
            seed_everything_default=0,
            args=arguments,
        )
        failed = False
    except Exception as error:
        ours = _abair_error(error) or logger_error(error)
        if ours is not None:
            raise ours from error
        if isinstance(error, ArgumentError | argparse.ArgumentError | OSError | MisconfigurationException):
            raise InputError(one_line(str(error))) from error
        raise
    finally:
        finish_run(before, failed)


def _abair_error(error: BaseException | None) -> AbairError | None:
    """The project's own error among the causes of one that jsonargparse or Lightning wrapped around it."""
    while error is not None and not isinstance(error, AbairError):
        error = error.__cause__ or error.__context__
    return error
