"""Which scenes to show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def choose_scenes(annotation_file: Path, own_categories: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Pick the scenes that show most.

    Args:
        annotation_file: COCO annotations of the scenes to pick from.
        own_categories: What the ``own`` instruction asks for.

    Returns:
        File names of scenes for ``all`` categories, for ``half`` of them and for the ``own`` instruction, and the names
        of that half: every other category.
    """
    coco = json.loads(annotation_file.read_text('utf-8'))
    names = {category['id']: category['name'] for category in coco['categories']}
    found: dict[int, list[str]] = {image['id']: [] for image in coco['images']}
    for annotation in coco['annotations']:
        found[annotation['image_id']].append(names[annotation['category_id']])
    files = {image['id']: image['file_name'] for image in coco['images']}
    half = list(names.values())[::2]

    def best(asked: Sequence[str], number: int) -> list[str]:
        """Scenes with many objects that are asked for, and many that are not."""

        def merit(image_id: int) -> int:
            count = sum(name in asked for name in found[image_id])
            return min(count, len(found[image_id]) - count)

        return [files[i] for i in sorted(files, key=merit, reverse=True)[:number]]

    several = [files[i] for i in files if len(found[i]) >= 3][:4]
    chosen = dict(all=several, half=best(half, 2), own=best(own_categories, 2))
    return chosen, half
