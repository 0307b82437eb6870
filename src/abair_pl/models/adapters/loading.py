"""How an adapter's folder is read: completely, and only if all of it fits the backbone and its own settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from abair_pl.bundle_files import check_file, reason
from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters.base import (
    ADAPTER_FILES,
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterMethod,
    adaptable_layer,
    adaptable_layers,
    base_name,
    known_method,
)
from abair_pl.models.adapters.updates import Adapter, LowRankUpdate
from abair_pl.models.backbone import Backbone
from abair_pl.module_files import read_tensors
from abair_pl.plain_json import read_json

MAX_SETTINGS = {"rank": 1024, "alpha": 1e6, "experts": 8}
"""Far beyond what is trained; an expert enlarges what it sees by its number."""

_SHOWN_LETTERS = 100
_PICKLED = "adapter_model.bin"
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError),
    *(SafetensorError, InputError),
)


def attach_adapter(
    backbone: Backbone, name: str, method: AdapterMethod, backbone_sha256: str, start: Path | None = None
) -> nn.Module:
    """As :meth:`AdapterMethod.attach`, with the weights of a saved adapter where there is one to start from.

    Args:
        backbone: The backbone, frozen and changed in place.
        name: The adapter's name.
        method: How it is made.
        backbone_sha256: Digest of the backbone's weights.
        start: Folder of an adapter of the same settings.

    Raises:
        BundleError: That adapter is missing or damaged, belongs to another backbone, or was made in another way.
    """
    tensors = None
    if start is not None:
        made = read_method(start, backbone_sha256, backbone)
        if made != method:
            message = f"adapter {start} was made by {made}; expected {method}: start from one of the same settings"
            raise BundleError(message)
        tensors = read_tensors(start / WEIGHTS_FILE)
    model = method.attach(backbone, name, backbone_sha256)
    if tensors is not None:
        method.start_from(model, name, tensors)
    return model


def load_adapter(folder: Path, backbone_sha256: str, backbone: nn.Module) -> Adapter:
    """Read an adapter, without importing PEFT.

    Args:
        folder: With ``adapter_config.json`` and ``adapter_model.safetensors``.
        backbone_sha256: Digest of the backbone that the adapter is to be used with.
        backbone: That backbone or any of its architecture, also without memory (on the device ``meta``).

    Returns:
        The updates, in float32 on the CPU.

    Raises:
        BundleError: A file is missing or damaged, or the adapter belongs to another backbone or an unknown method.
    """
    return _read(folder, backbone_sha256, backbone)[1]


def read_method(folder: Path, backbone_sha256: str, backbone: nn.Module) -> AdapterMethod:
    """How an adapter was made, after all checks of :func:`load_adapter`."""
    return _read(folder, backbone_sha256, backbone)[0]


def check_limits(method: AdapterMethod) -> None:
    """Raise :class:`InputError` for a setting beyond :data:`MAX_SETTINGS`."""
    for name, most in MAX_SETTINGS.items():
        value = getattr(method, name, 0)
        if value > most:
            message = f"the adapter's {name} is {value}; expected at most {most}"
            raise InputError(message)


class _LookedUp(Mapping[str, Tensor]):
    """Tensors in float32 that remember which of them were looked up."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.left = dict.fromkeys(tensors)

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.tensors[name]
        self.left.pop(name, None)
        if not tensor.is_floating_point():
            message = f"{name} holds {str(tensor.dtype).removeprefix('torch.')}; expected real numbers"
            raise ValueError(message)
        return tensor.float()

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def _read(folder: Path, backbone_sha256: str, backbone: nn.Module) -> tuple[AdapterMethod, Adapter]:
    if (folder / _PICKLED).exists() and not (folder / WEIGHTS_FILE).exists():
        message = (
            f"adapter {folder} has its weights as {_PICKLED}, which would have to be unpickled; expected "
            f"{WEIGHTS_FILE}: have it saved as safetensors"
        )
        raise BundleError(message)
    for name in ADAPTER_FILES:
        check_file(folder, folder / name)
    try:
        config = read_json(folder / CONFIG_FILE)
        base, kind = config["base_model_name_or_path"], config["peft_type"]
    except _DAMAGE as error:
        raise _damaged(folder, error) from error
    if base != base_name(backbone_sha256):
        other = reason(base)[:_SHOWN_LETTERS]
        message = (
            f"adapter {folder} was trained on {other}; this backbone is {base_name(backbone_sha256)}: train it again"
        )
        raise BundleError(message)
    try:
        method = known_method("peft_type", kind).from_file(config)
        check_limits(method)
        found = _LookedUp(read_tensors(folder / WEIGHTS_FILE))
        adapter = method.read(found, backbone)
        if found.left:
            message = f"it has {next(iter(found.left))}, which {method} does not use; expected its updates alone"
            raise ValueError(message)
        _check_fits(adapter, method, backbone)
    except _DAMAGE as error:
        raise _damaged(folder, error) from error
    return method, adapter


def _check_fits(adapter: Adapter, method: AdapterMethod, backbone: nn.Module) -> None:
    """Raise an error for the first update that is not one of the method for a layer of the backbone."""
    if not adapter:
        message = "it updates no layer"
        raise ValueError(message)
    adaptable = set(adaptable_layers(backbone))
    for layer, update in adapter.items():
        outputs, inputs = adaptable_layer(backbone, layer).weight.shape[:2]
        if layer not in adaptable:
            message = f"it updates {layer}; expected layers of restoration blocks"
            raise ValueError(message)
        found = (len(update.up), update.down.shape[1], len(update.down))
        if found != (outputs, inputs, method.rank):
            expected = f"{outputs} x {inputs} of rank {method.rank}"
            message = f"{layer} has an update of {found[0]} x {found[1]} of rank {found[2]}; expected {expected}"
            raise ValueError(message)
        if not _finite(update):
            message = f"the update of {layer} has values that are not finite"
            raise ValueError(message)


def _finite(update: LowRankUpdate) -> bool:
    return all(bool(value.isfinite().all()) for value in vars(update).values() if isinstance(value, Tensor))


def _damaged(folder: Path, error: Exception) -> BundleError:
    return BundleError(f"adapter {folder} cannot be read ({reason(error)}); copy or train it again")
