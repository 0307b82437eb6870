"""Bundles on the Hugging Face Hub: downloaded as plain files, uploaded with their model card."""

import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from abair_pl.atomic import published, replacing, scratch
from abair_pl.bundle import Bundle
from abair_pl.bundle_files import BACKBONE_FILE, CONFIG_FILE, ESTIMATOR_FILE, copy_bundle, reason
from abair_pl.bundle_output import check_output, is_free
from abair_pl.card.text import model_card
from abair_pl.errors import AbairError, BundleError, InputError
from abair_pl.models.adapters import ADAPTER_FILES

PATTERNS = [CONFIG_FILE, "README.md", BACKBONE_FILE, ESTIMATOR_FILE, *(f"adapters/*/{name}" for name in ADAPTER_FILES)]
"""The files of a bundle; nothing else in a repository is downloaded."""

_REPO_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_COPIES = "abair-pl"
_ACCESS = "pass token=, or run: hf auth login"


class BundleOnHub(ModelHubMixin):
    """A bundle in use that can be written to a folder and uploaded; base of :class:`abair_pl.restore.Abair`.

    Attributes:
        bundle: The bundle.
    """

    bundle: Bundle

    def save_pretrained(self, save_directory: Path | str, **options: Any) -> str | None:
        """Write the bundle to a folder.

        Args:
            save_directory: The folder; a bundle that is there is kept as ``NAME.previous``.
            options: Those of huggingface_hub's ``ModelHubMixin.save_pretrained``, such as ``push_to_hub``.

        Returns:
            The address of the upload, if one was asked for.

        Raises:
            InputError: There is something else than a bundle, or it overlaps the bundle itself.
        """
        target = check_output(Path(save_directory), self.bundle.path)
        with scratch(target) as folder:
            address = super().save_pretrained(folder, **{"repo_id": target.name, **options})
            with replacing(folder, target, keep=not is_free(target)):
                return address

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the bundle with its model card.

        Args:
            repo_id: ``OWNER/NAME`` on the Hub; made where there is none.
            options: Those of huggingface_hub's ``ModelHubMixin.push_to_hub``: ``private``, ``token``, ``branch``,
                ``commit_message`` and others.

        Returns:
            The address of the upload.

        Raises:
            InputError: The Hub does not allow such a name.
            AbairError: The Hub refuses it, or cannot be reached.
        """
        try:
            return super().push_to_hub(repo_id, **options)
        except AbairError:
            raise
        except HFValidationError as error:
            message = f"'{repo_id}' cannot be a repository ({reason(error)}); expected OWNER/NAME"
            raise InputError(message) from error
        except Exception as error:  # the client's own, those of HTTP and of the connection have no common base
            message = f"{repo_id} cannot be uploaded ({reason(error)}); check the connection, and {_ACCESS}"
            raise AbairError(message) from error

    def generate_model_card(self, *arguments: Any, **options: Any) -> ModelCard:
        """The bundle's own model card, for one that has lost its file; arguments are not used."""
        return ModelCard(model_card(self.bundle.config.values()))

    def _save_pretrained(self, save_directory: Path) -> None:
        copy_bundle(self.bundle.path, save_directory)


def local_bundle(
    path: Path | str, revision: str | None, cache_dir: Path | str | None, token: str | None, local_files_only: bool
) -> Path:
    """The folder of a bundle, downloaded if it is on the Hub.

    Args:
        path: A folder; or, as a text and where there is no such folder, ``OWNER/NAME`` on the Hub.
        revision: Branch, tag or commit on the Hub.
        cache_dir: Where downloads are kept; huggingface_hub's own place if left out.
        token: For what not everybody may read.
        local_files_only: Download nothing.

    Returns:
        The folder, which need not be one if ``path`` was none.

    Raises:
        BundleError: There is no such repository or revision, it is no bundle, or it is neither in the cache nor to be
            had.
    """
    if isinstance(path, Path) or Path(path).exists() or not _REPO_ID.fullmatch(path):
        return Path(path)
    try:
        snapshot = snapshot_download(
            path,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            allow_patterns=PATTERNS,
        )
    except Exception as error:  # as above
        raise _missing(path, revision, error) from error
    if not (Path(snapshot) / CONFIG_FILE).is_file():
        message = f"{path} on the Hub is no bundle (no {CONFIG_FILE}); expected what Abair.push_to_hub uploads"
        raise BundleError(message)
    try:
        return _plain_files(Path(snapshot))
    except OSError as error:
        message = f"{path} cannot be copied within the cache ({reason(error)}); choose another cache_dir"
        raise BundleError(message) from error


def _missing(repo_id: str, revision: str | None, error: Exception) -> BundleError:
    if isinstance(error, GatedRepoError):
        told = f"{repo_id} is open to some only; ask for access at https://huggingface.co/{repo_id}, then {_ACCESS}"
    elif isinstance(error, RepositoryNotFoundError):
        told = (
            f"no bundle at {repo_id}, and no such repository on the Hub, or none that may be read; check the name, or "
            f"{_ACCESS}"
        )
    elif isinstance(error, RevisionNotFoundError):
        told = f"{repo_id} has no revision {revision}; expected a branch, tag or commit of it"
    elif isinstance(error, LocalEntryNotFoundError):
        told = (
            f"no bundle at {repo_id}, nor all of it in the cache, and the Hub was not reached; connect, leave out "
            "local_files_only and HF_HUB_OFFLINE, or give the folder of a bundle"
        )
    else:
        told = f"{repo_id} cannot be downloaded ({reason(error)}); try again, or give the folder of a bundle"
    return BundleError(told)


def _plain_files(snapshot: Path) -> Path:
    """A copy of a snapshot, whose files are links into the cache, which bundles must not have.

    It is kept beside the snapshots of the repository, by commit, and so is never out of date.
    """
    folder = snapshot.parents[1] / _COPIES / snapshot.name
    there = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()]
    names = [name for name in there if any(fnmatch(name, pattern) for pattern in PATTERNS)]
    for name in sorted(names, key=lambda name: name == CONFIG_FILE):
        copy = folder / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with published(copy) as partial:
                shutil.copyfile(snapshot / name, partial)
    return folder
