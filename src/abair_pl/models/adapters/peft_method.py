"""What the methods that PEFT implements share."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from abair_pl.models.adapters.base import CONFIG_FILE, AdapterMethod, base_name
from abair_pl.models.backbone import Backbone


@dataclass(frozen=True)
class PeftMethod(AdapterMethod):
    """A method whose training and files are PEFT's own.

    Attributes:
        rank: Rank of the update of each layer.
    """

    @abstractmethod
    def peft_config(self, backbone: Backbone) -> Any:
        """PEFT's configuration for a backbone as :meth:`prepare` leaves it."""

    def prepare(self, backbone: Backbone) -> Backbone:
        """Bring a backbone, in place, into the form that PEFT handles."""
        return backbone

    def attach(self, backbone: Backbone, name: str, backbone_sha256: str) -> nn.Module:
        from peft import get_peft_model

        prepared = self.prepare(backbone)
        model: nn.Module = get_peft_model(prepared, self.peft_config(prepared), adapter_name=name)
        peft_config: Any = model.peft_config
        peft_config[name].base_model_name_or_path = base_name(backbone_sha256)
        return model

    def start_from(self, model: Any, name: str, tensors: Mapping[str, Tensor]) -> None:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, dict(tensors), adapter_name=name)

    def save(self, model: Any, name: str, folder: Path) -> None:
        # Left to itself PEFT would ask a model hub whether the backbone's vocabulary has grown.
        model.save_pretrained(str(folder), selected_adapters=[name], save_embedding_layers=False)
        # PEFT keeps names of layers in a set, whose order is another one in each process.
        file = folder / name / CONFIG_FILE
        config = json.loads(file.read_text())
        ordered = {key: sorted(value) if key == "target_modules" else value for key, value in config.items()}
        file.write_text(json.dumps(ordered, indent=2, sort_keys=True))
