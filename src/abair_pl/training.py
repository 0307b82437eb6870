"""``abair-pl fit|validate|test|predict``: LightningCLI over the three modules and the datamodule."""

import argparse
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback

from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.errors import AbairError, InputError, one_line

# Registered by the imports, so that configurations may name them without their package.
from abair_pl.modules.adapter import AdapterModule
from abair_pl.modules.base import RestorationModule
from abair_pl.modules.estimator import EstimatorModule
from abair_pl.modules.pretrain import PretrainModule

__all__ = ["AdapterModule", "EstimatorModule", "PretrainModule", "RestorationDataModule", "run_trainer"]


class VersionedConfig(SaveConfigCallback):
    """Saves the configuration beside the logs as ``config.yaml``, or ``config-1.yaml`` where there is one already."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose a free name, then save."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        taken = len(list(folder.glob("config*.yaml")))
        self.config_filename = f"config-{taken}.yaml" if taken else "config.yaml"
        super().setup(trainer, pl_module, stage)


class AbairCLI(LightningCLI):
    """LightningCLI whose wrong arguments are one line, and whose checkpoints do not override arguments."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """The parser, reporting errors as exceptions."""
        return super().init_parser(**{**kwargs, "exit_on_error": False})

    def _parse_ckpt_path(self) -> None:
        """Lightning would let a checkpoint's hyper-parameters silently replace the given ones; the module compares."""


def run_trainer(arguments: ArgsType) -> None:
    """Run a trainer subcommand.

    Args:
        arguments: ``fit``, ``validate``, ``test`` or ``predict``, followed by its options.

    Raises:
        InputError: An argument or a configuration file is wrong.
    """
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
    except Exception as error:
        ours = _abair_error(error)
        if ours is not None:
            raise ours from error
        if isinstance(error, ArgumentError | argparse.ArgumentError | OSError | MisconfigurationException):
            raise InputError(one_line(str(error))) from error
        raise


def _abair_error(error: BaseException | None) -> AbairError | None:
    """The project's own error among the causes of one that jsonargparse or Lightning wrapped around it."""
    while error is not None and not isinstance(error, AbairError):
        error = error.__cause__ or error.__context__
    return error
