"""Pictures for the pretrained networks: calibration, choice and test have none in common.

Crops of a picture follow each other: the last quarter of a calibration set, which conversion holds
out from fitting, shows other pictures than the rest.
"""

from __future__ import annotations

import re

import numpy as np
import torch
from PIL import Image
from pretrained_models import packaged
from torch import Tensor

#: Pictures of scikit-image that calibrate ImageNet's network; its test pictures are foolbox's.
CALIBRATION = (
    "hubble_deep_field.jpg", "retina.jpg", "ihc.png", "rocket.jpg", "motorcycle_left.png",
    "coffee.png",
)  # fmt: skip
#: Further ones that its recipe is chosen on, held out of calibration meanwhile.
CHOICE = ("astronaut.png", "chelsea.png", "camera.png", "coins.png")
#: For faces and eyes, without those two whose faces and eyes are the test.
WITHOUT_FACES = ("coffee.png", "rocket.jpg", "motorcycle_left.png", "camera.png", "coins.png")
#: And those that their recipes are chosen on.
CHOICE_WITHOUT_FACES = ("hubble_deep_field.jpg", "brick.png", "clock_motion.png", "moon.png")
#: LFW's faces that calibrate; the others of the 100 are for the choice.
CALIBRATING_FACES = 64


def picture(name: str) -> Image.Image:
    """A picture of scikit-image, RGB."""
    return Image.open(packaged("scikit-image", f"skimage/data/{name}")).convert("RGB")


def tensor(image: Image.Image) -> Tensor:
    """(channels, height, width), 0..1."""
    x = torch.from_numpy(np.asarray(image).astype(np.float32) / 255)
    return x.movedim(-1, 0) if x.ndim == 3 else x.unsqueeze(0)


def crop(image: Image.Image, rng: np.random.Generator, size: int, least: float) -> Image.Image:
    """A random square, at least a share of the shorter side, resized."""
    side = int(min(image.size) * rng.uniform(least, 1))
    x, y = (int(rng.integers(0, s - side + 1)) for s in image.size)
    return image.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.BILINEAR)


def colour_crops(count: int, names: tuple[str, ...], size: int = 224, seed: int = 0) -> Tensor:
    """Crops of scikit-image's pictures (count, 3, size, size), 0..1."""
    rng = np.random.default_rng(seed)
    pictures = [picture(name) for name in names]
    crops = [crop(pictures[i * len(pictures) // count], rng, size, 0.3) for i in range(count)]
    return torch.stack([tensor(c) for c in crops])


def imagenet_pictures() -> tuple[list[Image.Image], list[int]]:
    """foolbox's 20 ImageNet pictures, and their classes."""
    folder = packaged("foolbox", "foolbox/data")
    paths = sorted(folder.glob("imagenet_*.jpg"))
    labels = [int(re.findall(r"\d+", path.stem)[-1]) for path in paths]
    return [Image.open(path).convert("RGB") for path in paths], labels


def centred(image: Image.Image, size: int = 224) -> Tensor:
    """ImageNet's usual view: shorter side to 256, the middle 224."""
    scale = 256 / min(image.size)
    small = image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR
    )
    x, y = (small.width - size) // 2, (small.height - size) // 2
    return tensor(small.crop((x, y, x + size, y + size)))


def imagenet_crops(count: int, seed: int = 1) -> Tensor:
    """Random crops of foolbox's pictures, 224 x 224."""
    rng = np.random.default_rng(seed)
    pictures, _ = imagenet_pictures()
    return torch.stack(
        [tensor(crop(pictures[i % len(pictures)], rng, 224, 0.4)) for i in range(count)]
    )


def lfw_faces(choice: bool) -> list[Image.Image]:
    """scikit-image's 100 small faces, grey: those that calibrate, or those for the choice."""
    faces = np.load(packaged("scikit-image", "skimage/data/lfw_subset.npy"))[:100]
    faces = faces[CALIBRATING_FACES:] if choice else faces[:CALIBRATING_FACES]
    return [Image.fromarray((255 * f).clip(0, 255).astype(np.uint8)) for f in faces]


def _without_faces(choice: bool) -> list[Image.Image]:
    return [picture(name) for name in (CHOICE_WITHOUT_FACES if choice else WITHOUT_FACES)]


def face_scenes(count: int, size: int = 256, seed: int = 0, *, choice: bool = False) -> Tensor:
    """Small faces of LFW pasted on crops of pictures without faces, 0..255."""
    rng = np.random.default_rng(seed)
    pictures, faces = _without_faces(choice), lfw_faces(choice)
    scenes = []
    for i in range(count):
        scene = crop(pictures[i * len(pictures) // count], rng, size, 0.4)
        for face in rng.choice(len(faces), 2, replace=False):
            side = int(rng.integers(size // 8, size // 2))
            x, y = (int(v) for v in rng.integers(0, size - side, 2))
            big = faces[face].resize((side, side), Image.Resampling.BICUBIC)
            scene.paste(big.convert("RGB"), (x, y))
        scenes.append(255 * tensor(scene))
    return torch.stack(scenes)


def grey_crops(count: int, size: int = 148, seed: int = 0, *, choice: bool = False) -> Tensor:
    """Grey crops of pictures without eyes, and LFW faces, 0..1."""
    rng = np.random.default_rng(seed)
    pictures, faces = _without_faces(choice), lfw_faces(choice)
    crops = []
    for i in range(count):
        scene = pictures[i * len(pictures) // count].convert("L")
        image = faces[i // 2 % len(faces)] if i % 2 else scene
        crops.append(tensor(crop(image, rng, size, 0.1 if i % 2 == 0 else 0.4)))
    return torch.stack(crops)


#: Eyes: a picture and a box (left, top, right, bottom).
EYES = (
    ("astronaut.png", (185, 95, 225, 135)),
    ("astronaut.png", (230, 93, 270, 133)),
    ("chelsea.png", (105, 60, 205, 160)),
)


def eyes(size: int = 148) -> Tensor:
    """Three real eyes, grey, 0..1."""
    boxes = [picture(name).convert("L").crop(box) for name, box in EYES]
    return torch.stack([tensor(b.resize((size, size), Image.Resampling.BILINEAR)) for b in boxes])
