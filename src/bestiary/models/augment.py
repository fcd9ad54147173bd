"""Random changes to training images: crops, left-right flips, small rotations and blends, in batches, on the device.

In: images and how each is changed. Out: images of the same shape. For a trainable backbone changes are drawn for each
batch; a frozen one sees a fixed number of views, each a function of the image's content, so that views can be cached.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bestiary.config.schema import AugmentConfig
from bestiary.models.devices import seeded


@dataclass(frozen=True)
class View:
    """One of the fixed views of a frozen backbone: number 0 is the image as it is, odd numbers are flipped.

    Attributes:
        number: from 0.
        flip: whether this view is flipped left-right.
        rotation_degrees: each image is turned by an angle within this, drawn from its content and the number.
    """

    number: int = 0
    flip: bool = False
    rotation_degrees: float = 0.0

    def angles(self, keys: Sequence[str]) -> npt.NDArray[np.float32]:
        """The angle of each image in degrees, `(n,) float32`: the same for the same content, always."""
        draws = [zlib.crc32(f"{key}/{self.number}".encode()) / 0xFFFFFFFF * 2 - 1 for key in keys]
        return np.array(draws, dtype=np.float32) * self.rotation_degrees


PLAIN_VIEW = View()


def views_of(config: AugmentConfig) -> list[View]:
    """The views that a frozen backbone sees; the first is the image as it is."""
    count = config.views if isinstance(config.views, int) else 1
    return [PLAIN_VIEW] + [
        View(
            number,
            flip=config.flip and number % 2 == 1,
            # With flips, view 1 is the plain mirror image; turning begins with view 2.
            rotation_degrees=config.rotation_degrees if number > 1 or not config.flip else 0.0,
        )
        for number in range(1, count)
    ]


def apply_view(pixels: npt.NDArray[np.uint8], keys: Sequence[str], view: View) -> npt.NDArray[np.uint8]:
    """One view of a batch of pixels `(n, h, w, 3) uint8`."""
    if view.rotation_degrees == 0:
        return np.ascontiguousarray(pixels[:, :, ::-1]) if view.flip else pixels
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    flips = torch.full((len(pixels),), view.flip)
    turned = flip_and_rotate(images, flips, torch.from_numpy(view.angles(keys)))
    return turned.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def augment(images: torch.Tensor, config: AugmentConfig, *, generator: torch.Generator) -> torch.Tensor:
    """Crop each image, flip it with probability one half and turn it by an angle within the limit, as the config says.

    Args:
        images: `(n, 3, h, w)` float.
        config: which changes.
        generator: on the CPU, so that every device draws the same.
    """
    if config.crops:
        images = crop(images, (config.crop_scale[0], config.crop_scale[1]), generator=generator)
    if not config.flip and config.rotation_degrees == 0:
        return images
    count = len(images)
    flips = torch.rand(count, generator=generator) < (0.5 if config.flip else 0.0)
    angles = (torch.rand(count, generator=generator) * 2 - 1) * config.rotation_degrees
    return flip_and_rotate(images, flips.to(images.device), angles.to(images.device))


def crop(images: torch.Tensor, scale: tuple[float, float], *, generator: torch.Generator) -> torch.Tensor:
    """A random part of each image at the size of the whole: torchvision's RandomResizedCrop, bilinear.

    Args:
        images: `(n, 3, h, w)` float.
        scale: least and largest share of the area.
        generator: on the CPU.
    """
    # On the call: torchvision takes seconds to import, and a process that fits heads needs none of it.
    from torchvision.transforms import v2

    change = v2.RandomResizedCrop(list(images.shape[2:]), scale=scale, antialias=True)
    with seeded(_drawn_seed(generator)):
        return torch.stack([change(image) for image in images])


def mix(
    images: torch.Tensor, labels: torch.Tensor, alpha: float, *, class_count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image blended with its neighbour in the batch, and their labels as much: torchvision's MixUp.

    Zhang et al. 2018, "mixup: Beyond empirical risk minimization". One share is drawn for the whole batch.

    Args:
        images: `(n, 3, h, w)` float.
        labels: class numbers `(n,) int64`.
        alpha: of the beta distribution of shares, above 0.
        class_count: how many classes.
        generator: on the CPU.

    Returns:
        The images, and targets `(n, class_count) float32` that sum to 1.
    """
    from torchvision.transforms import v2

    with seeded(_drawn_seed(generator)):
        mixed, targets = v2.MixUp(alpha=alpha, num_classes=class_count)(images, labels)
    return mixed, targets


def _drawn_seed(generator: torch.Generator) -> int:
    # torchvision draws from torch's own generator.
    return int(torch.randint(2**62, (), generator=generator))


def flip_and_rotate(images: torch.Tensor, flips: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Flip and turn `(n, 3, h, w)` images about their centres, bilinearly; what comes from outside repeats the edge.

    Args:
        images: float, any memory format.
        flips: `(n,)` bool.
        degrees: `(n,)`, anticlockwise as seen.
    """
    flipped = torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)
    if not torch.any(degrees):
        return flipped
    radians = torch.deg2rad(degrees).to(images.dtype)
    cosine, sine, zero = torch.cos(radians), torch.sin(radians), torch.zeros_like(radians)
    # affine_grid works in [-1, 1] on both axes; the ratios keep a turn a turn on images that are no square.
    ratio = images.shape[3] / images.shape[2]
    rows = torch.stack([cosine, -sine / ratio, zero, sine * ratio, cosine, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
    return functional.grid_sample(flipped, grid, mode="bilinear", padding_mode="border", align_corners=False)
