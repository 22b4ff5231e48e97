import json

from mmvisionllm.scenes.choice import choose_scenes
from mmvisionllm.scenes.generator import SceneSettings, make_scenes

OWN = ('heart', 'star')


def test_chosen_scenes_show_what_is_asked_for_and_what_is_not(tmp_path):
    make_scenes(tmp_path, SceneSettings(train=0, val=30, seed=0))
    annotations = tmp_path / 'annotations' / 'instances_val.json'
    coco = json.loads(annotations.read_text())
    names = {c['id']: c['name'] for c in coco['categories']}

    def objects(file_name: str) -> list[str]:
        [image_id] = [i['id'] for i in coco['images'] if i['file_name'] == file_name]
        return [names[a['category_id']] for a in coco['annotations'] if a['image_id'] == image_id]

    chosen, half = choose_scenes(annotations, OWN)
    assert len(half) == len(names) // 2 and set(half) < set(names.values())
    assert {group: len(files) for group, files in chosen.items()} == dict(all=4, half=2, own=2)
    for group, asked in (('half', half), ('own', OWN)):
        for file_name in chosen[group]:
            present = {name in asked for name in objects(file_name)}
            assert present == {True, False}
