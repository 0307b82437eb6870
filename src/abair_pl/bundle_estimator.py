"""The estimator of a bundle as it is stored, and as phase III goes on from it."""

from pathlib import Path

from abair_pl.bundle_config import BundleConfig
from abair_pl.bundle_files import ESTIMATOR_FILE, standing
from abair_pl.models.estimator import Estimator, with_labels
from abair_pl.module_files import load_module


def stored_estimator(path: Path, config: BundleConfig) -> Estimator:
    """The estimator that there is, of the adapters that it was trained on.

    Args:
        path: The bundle.
        config: Its ``config.json``.

    Raises:
        BundleError: The file is missing or damaged, or is another one.
    """
    dim, classes, digest = config.architecture.estimator_dim, len(config.estimated) + 1, config.estimator_sha256
    file = standing(path, path / ESTIMATOR_FILE, {"": digest})
    return load_module(lambda: Estimator(dim, classes), path, file, digest)


def estimator_to_train(path: Path, config: BundleConfig) -> Estimator:
    """What phase III starts from: an estimator of the adapters that there are, which knows those it has seen before.

    Args:
        path: The bundle.
        config: Its ``config.json``.

    Raises:
        BundleError: As for :func:`stored_estimator`.
    """
    names, known = list(config.adapters), list(config.estimated)
    if not known:
        return Estimator(config.architecture.estimator_dim, len(names) + 1)
    stored = stored_estimator(path, config)
    return stored if names == known else with_labels(stored, ["clean", *known], ["clean", *names])
