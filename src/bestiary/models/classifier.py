"""A classifier: backbone and head as one torch module.

In: uint8 pixels `(n, height, width, 3)`, once for each backbone that is joined. Out: logits `(n, class_count) float32`.
"""

import torch
from torch import nn

from bestiary.models.backbones import Backbone, Preprocessing
from bestiary.models.heads import Head
from bestiary.models.join import Join
from bestiary.models.partial.trainable import trainable_parameters


class Classifier(nn.Module):
    """What is trained, saved and exported."""

    def __init__(self, backbone: Backbone | Join, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """What belongs to the weights, for each input."""
        return self.backbone.preprocessings

    def forward(self, *pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.backbone(*pixels))
        return logits

    def classify(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised, perhaps augmented images `(n, 3, h, w)` → logits; of a single backbone."""
        assert isinstance(self.backbone, Backbone)
        logits: torch.Tensor = self.head(self.backbone.extract(images))
        return logits

    def freeze_all_but(self, stages: int, *, modules: str = "") -> None:
        """Leave only the head and the backbone's last `stages` stages (-1: all, 0: none) or `modules` trainable.

        Raises:
            ConfigError: the backbone has fewer stages, or no module whose name the expression `modules` matches.
        """
        self.requires_grad_(False)
        self.head.requires_grad_(True)
        if (stages or modules) and isinstance(self.backbone, Backbone):
            for parameter in trainable_parameters(self.backbone, stages, modules=modules):
                parameter.requires_grad_(True)

    def train_mode(self, *, batch_norms: bool = True) -> None:
        """Training behaviour for what is trainable; frozen batch norms keep and use their statistics.

        Args:
            batch_norms: whether trained ones normalise by each batch; else they too keep their statistics.
        """
        self.eval()
        self.head.train()
        if all(parameter.requires_grad for parameter in self.backbone.parameters()):
            self.backbone.train()
        else:
            for module in self.backbone.modules():
                own = list(module.parameters(recurse=False))
                if own and all(parameter.requires_grad for parameter in own):
                    module.training = True
        if not batch_norms:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.training = False

    def parameter_counts(self) -> dict[str, int]:
        """`total` and `trainable` parameters."""
        return {
            "total": sum(parameter.numel() for parameter in self.parameters()),
            "trainable": sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad),
        }


class Portable(nn.Module):
    """A network as it is exported: uint8 pixels in, probabilities, the softmax of what it says, out."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, *pixels: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.classifier(*pixels), dim=1)
