"""What is done to a bundle before it is written to: the traces of killed processes are cleared up."""

from dataclasses import replace
from pathlib import Path

from abair_pl.atomic import remove_partials, remove_scratch
from abair_pl.bundle_config import BundleConfig, read_config, write_config
from abair_pl.bundle_files import CONFIG_FILE, ESTIMATOR_FILE, digests_of, settle
from abair_pl.models.adapters import ADAPTER_FILES


def settled(path: Path, held: bool) -> BundleConfig:
    """The configuration of a bundle, in which what killed processes have left is cleared up.

    Adapters get their digests where an older version has recorded none, so that they can be told from others when they
    are replaced.

    Args:
        path: The bundle, which must be held for writing.
        held: Whether it is: without locks, what others are writing must stay.

    Raises:
        BundleError: It is damaged.
    """
    config, adapters = read_config(path), path / "adapters"
    for name in config.adapters:
        settle(path, adapters / name, config.adapter_files.get(name, {}))
    settle(path, path / ESTIMATOR_FILE, {"": config.estimator_sha256} if config.estimated else {})
    if held:
        remove_partials(path, {CONFIG_FILE, "README.md"})
        for folder in filter(Path.is_dir, (path, adapters)):
            remove_scratch(folder)
    without = [name for name in config.adapters if name not in config.adapter_files]
    unknown = [name for name in without if all((adapters / name / file).is_file() for file in ADAPTER_FILES)]
    if unknown:
        found = {name: digests_of(adapters / name, ADAPTER_FILES) for name in unknown}
        config = replace(config, adapter_files={**config.adapter_files, **found})
        write_config(path, config)
    return config
