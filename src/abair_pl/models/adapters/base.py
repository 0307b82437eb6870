"""What an adapter method is, and which layers adapters update; loading.py reads an adapter's folder.

A method of one's own is one class in one file: a frozen dataclass that inherits :class:`AdapterMethod`. It is named in
YAML by ``class_path`` for training; bundles store its ``name``, which is looked up among the classes that have been
imported. Nothing that a bundle names is ever imported.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters.updates import Adapter
from abair_pl.models.backbone import Backbone
from abair_pl.models.layers import RestorationBlock
from abair_pl.models.tone import ToneHead

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
KEY_PREFIX = "base_model.model."
"""What PEFT puts before the names of the backbone's layers."""


@dataclass(frozen=True)
class AdapterMethod(ABC):
    """How adapters are made.

    Subclasses are frozen dataclasses of plain values, which a bundle's ``config.json`` holds beside the name.

    Attributes:
        rank: Rank of the update of each layer.
        name: What ``config.json`` calls the method.
        peft_type: What an adapter's own ``adapter_config.json`` calls it.
        trained: Parts of the names of the parameters that are trained.

    Raises:
        InputError: A number is out of range.
    """

    name: ClassVar[str]
    peft_type: ClassVar[str]
    trained: ClassVar[tuple[str, ...]]
    known: ClassVar[dict[str, type["AdapterMethod"]]] = {}

    rank: int = 4

    def __init_subclass__(cls) -> None:
        """Register a method that has a name of its own.

        Raises:
            InputError: Another class has it.
        """
        if "name" not in cls.__dict__:
            return
        other = AdapterMethod.known.get(cls.name, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            message = f"adapter method '{cls.name}' is {other.__module__}.{other.__qualname__}; choose another name"
            raise InputError(message)
        AdapterMethod.known[cls.name] = cls

    def __post_init__(self) -> None:
        self.check_positive("rank")

    def check_positive(self, *names: str) -> None:
        """Raise :class:`InputError` unless the fields of these names are above 0."""
        whole = {field.name: field.type is int for field in fields(self)}
        for name in names:
            value = getattr(self, name)
            if whole[name] and type(value) is not int:
                message = f"the adapter's {name} is {value!r}; expected a whole number"
                raise InputError(message)
            if isinstance(value, bool) or not (value > 0 and math.isfinite(value)):
                message = f"the adapter's {name} is {value}; expected a number above 0"
                raise InputError(message)

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` holds: ``{"method": "lora", "rank": 4, "alpha": 4.0}``."""
        return {"method": self.name, **asdict(self)}

    @abstractmethod
    def attach(self, backbone: Backbone, name: str, backbone_sha256: str) -> nn.Module:
        """Freeze a backbone and add a trainable adapter to its adaptable layers, in place.

        Args:
            backbone: The backbone; all its own parameters stop being trained.
            name: The adapter's name.
            backbone_sha256: Digest of the backbone's weights, written into the adapter.

        Returns:
            What restores ``(B, 3, H, W)`` when called; at first as the backbone does.
        """

    @abstractmethod
    def start_from(self, model: Any, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Put the weights of a saved adapter of these settings into what :meth:`attach` gave."""

    @abstractmethod
    def save(self, model: Any, name: str, folder: Path) -> None:
        """Write ``folder/<name>/`` with ``adapter_config.json`` and ``adapter_model.safetensors``."""

    @classmethod
    @abstractmethod
    def from_file(cls, config: Mapping[str, Any]) -> Self:
        """The settings of a saved adapter, from its ``adapter_config.json``; any error means that it is damaged."""

    @abstractmethod
    def read(self, tensors: Mapping[str, Tensor], backbone: nn.Module) -> Adapter:
        """The updates of a saved adapter of these settings; any error means that it is damaged.

        Args:
            tensors: What ``adapter_model.safetensors`` holds; one that is not looked up means that the file holds
                more than this method reads, which is an error.
            backbone: Any of the adapter's architecture; only the sizes of its layers count.
        """


def adapter_method(settings: Mapping[str, Any]) -> AdapterMethod:
    """The method that ``config.json`` holds the settings of.

    Raises:
        BundleError: No class of this name has been imported.
        InputError: A setting is out of range.
    """
    name = settings["method"]
    return known_method("name", name)(**{key: value for key, value in settings.items() if key != "method"})


def known_method(attribute: str, value: str) -> type[AdapterMethod]:
    """The class with a ``name`` or ``peft_type``; :class:`BundleError` where none that has been imported has it."""
    for method in AdapterMethod.known.values():
        if getattr(method, attribute) == value:
            return method
    known = ", ".join(getattr(method, attribute) for method in AdapterMethod.known.values())
    message = f"unknown adapter method '{value}'; expected one of: {known}; import the module of its class first"
    raise BundleError(message)


def adaptable_layers(backbone: nn.Module) -> list[str]:
    """The layers that adapters update: every 1x1 convolution inside a restoration block or the tone head.

    That is attention, window attention and feed-forward; of encoder, decoder, refinement and the blocks in which
    prompts interact with features; and all layers of the tone head, where there is one. Left as they are: depth-wise
    and spatial convolutions (a low-rank update of a depth-wise one would be larger than the layer), what fuses skips or
    reduces prompts, the weights of the prompts, and the segmentation head, which adapters must not change. With this
    rule the adapters of preset ``paper`` have the sizes of the paper's Table 7: 3.6, 7.2 and 14.3 M parameters for five
    of rank 4, 8 and 16.
    """
    return [
        f"{place}.{name}"
        for place, block in backbone.named_modules()
        if isinstance(block, RestorationBlock | ToneHead)
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
    ]


def adaptable_layer(backbone: nn.Module, name: str) -> nn.Conv2d:
    """One of the layers that adapters update, by name.

    Raises:
        BundleError: The backbone has no 1x1 convolution of this name.
    """
    try:
        layer = backbone.get_submodule(name)
    except AttributeError:
        layer = None
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1):
        found = "which is not there" if layer is None else f"a {type(layer).__name__}"
        message = f"adapters update {name}, {found}; expected a 1x1 convolution: train them again"
        raise BundleError(message)
    return layer


def base_name(backbone_sha256: str) -> str:
    """How adapters call the backbone that they were trained on."""
    return f"abair-backbone-{backbone_sha256}"


def layer_names(tensors: Mapping[str, Tensor], mark: str) -> list[str]:
    """The layers that saved tensors belong to, ``<prefix><layer><mark>...``, each once and in their order."""
    keys = [key.removeprefix(KEY_PREFIX) for key in tensors if key.startswith(KEY_PREFIX) and mark in key]
    return list(dict.fromkeys(key.partition(mark)[0] for key in keys))
