"""Images that resemble each other: cuts of the same textures."""

from pathlib import Path

import numpy as np

from ames_lite.io.images import save_jpeg

TEXTURES, CUTS = 4, 3


def save_photos(folder: Path) -> Path:
    """Twelve images, some upright and some lying; returns the folder."""
    folder.mkdir(parents=True)
    for number in range(TEXTURES):
        coarse = np.random.default_rng(number).integers(0, 255, (45, 45, 3))
        texture = np.kron(coarse, np.ones((12, 12, 1))).astype("u1")
        for cut in range(CUTS):
            size = (440, 300) if number % 2 else (300, 440)
            first = 24 * cut
            part = texture[first : first + size[0], first : first + size[1]]
            save_jpeg(folder / f"{'abcd'[number]}_{cut}.jpg", part, 92)
    return folder
