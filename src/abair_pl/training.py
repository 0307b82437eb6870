"""``abair-pl fit|validate|test|predict``: LightningCLI over the three modules and the datamodule."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_info

from abair_pl.atomic import write_text
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.streaming.sources import is_remote
from abair_pl.errors import InputError, PreemptedError

# Registered by the imports, so that configurations may name them without their package.
from abair_pl.modules.adapter import AdapterModule
from abair_pl.modules.base import RestorationModule
from abair_pl.modules.estimator import EstimatorModule
from abair_pl.modules.loggers import finish_run, make_loggers, open_run
from abair_pl.modules.pretrain import PretrainModule
from abair_pl.modules.tracking import RunIdentity, TrackingConfig, going_on, identify, wandb_loggers, without_secrets
from abair_pl.modules.trainer import PhaseTrainer, resume_from
from abair_pl.training_errors import explained, loaders_ended_with_a_failure, speak

__all__ = ["AdapterModule", "EstimatorModule", "PretrainModule", "RestorationDataModule", "run_trainer"]


class VersionedConfig(SaveConfigCallback):
    """Saves the configuration beside the logs as ``config.yaml``, or ``config-1.yaml`` where there is one already.

    W&B gets it, too, without passwords.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Know the folder, which all ranks agree on."""
        self._folder = str(trainer.log_dir or trainer.default_root_dir)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save in one step, under a free name."""
        text = self.parser.dump(self.config, skip_none=False)
        if not is_remote(self._folder):
            folder = Path(self._folder)
            folder.mkdir(parents=True, exist_ok=True)
            taken = len(list(folder.glob("config*.yaml")))
            write_text(folder / (f"config-{taken}.yaml" if taken else "config.yaml"), text)
        for logger in wandb_loggers(trainer):
            run = logger.experiment
            with going_on("to keep the configuration"):
                run.config.update(without_secrets(yaml.safe_load(text)), allow_val_change=True)


class AbairCLI(LightningCLI):
    """LightningCLI whose wrong arguments are one line, and whose checkpoints do not override arguments."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """The parser, reporting errors as exceptions."""
        return super().init_parser(**{**kwargs, "exit_on_error": False})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Beside model, data and trainer: where runs are tracked."""
        parser.add_class_arguments(TrackingConfig, "tracking")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, with the loggers of its own and those of the tracking; it is known by now what is resumed."""
        self._resume()
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
        identity = self._identity(tracking) if tracking.wandb else None
        return super().instantiate_trainer(logger=[*loggers, *make_loggers(tracking, identity, folder)], **kwargs)

    def _resume(self) -> None:
        """Turn ``--resume auto`` into the checkpoint that it stands for, to which a W&B run may belong."""
        if self.subcommand != "fit" or self._get(self.config_init, "resume") != "auto":
            return
        settings, values = self._get(self.config_init, "trainer"), self.config_init["fit"]
        root = settings.default_root_dir or Path.cwd()
        values.ckpt_path = resume_from(settings.callbacks, root, self.model.phase, values.ckpt_path)
        values.resume = "never"

    def _identity(self, tracking: TrackingConfig) -> RunIdentity:
        module, checkpoint = self.model, self._get(self.config_init, "ckpt_path")
        preset = str(module.hparams.get("preset", module.phase))
        return identify(tracking, str(self.subcommand), module.phase, preset, module.bundle, checkpoint)

    def _parse_ckpt_path(self) -> None:
        """Lightning would let a checkpoint's hyper-parameters silently replace the given ones; the module compares."""


def run_trainer(arguments: ArgsType) -> None:
    """Run a trainer subcommand.

    Args:
        arguments: ``fit``, ``validate``, ``test`` or ``predict``, followed by its options.

    Raises:
        AbairError: An argument or a configuration file is wrong, or the training failed.
    """
    before, failed = open_run(), True
    try:
        with loaders_ended_with_a_failure():
            AbairCLI(
                RestorationModule,
                RestorationDataModule,
                trainer_class=PhaseTrainer,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=VersionedConfig,
                save_config_kwargs={"save_to_log_dir": False},
                seed_everything_default=0,
                args=arguments,
            )
        failed = False
    except PreemptedError as stop:
        failed = False
        rank_zero_info(str(stop))
    except Exception as error:
        ours = explained(error)
        if ours is None:
            raise
        speak(ours)
        raise ours from error
    finally:
        finish_run(before, failed)
