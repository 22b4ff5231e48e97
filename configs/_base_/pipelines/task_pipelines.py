# Steps that the pipelines of all data share. A config of data puts what is its own between them: how images are resized,
# and which categories there are.
backend_args = None
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')

load = dict(type='LoadImageFromFile', backend_args=backend_args)
load_boxes = dict(type='LoadAnnotations', with_bbox=True)
load_masks = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
flip = dict(type='RandomFlip', prob=0.5)
# 'instruction', of AttachInstruction where that stands before; what a transform leaves out is not packed.
pack = dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction', 'instruction'))
# 'text': categories that a caller names, as DetInferencer(texts=...).
pack_test = dict(type='PackDetInputs', meta_keys=(*meta_keys, 'text', 'custom_entities', 'instruction'))
# The last step of a test with --tta: each image as it is and flipped, whose boxes are merged.
pack_tta = dict(
    type='TestTimeAug',
    transforms=[[dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)], [pack]])

# A polygon's points, as the paper has them.
polygons_train = dict(task='segmentation', num_points=(8, 24))
polygons_test = dict(task='segmentation', num_points=24)  # 8/14/16/24 points give the paper mask AP 18.5/22.9/24.2/25.1

# Behind loading and resizing; without flips: 'left of' would become wrong.
grounding_train = [
    dict(type='PackDetInputs', meta_keys=(*meta_keys, 'text')),
    dict(type='AttachInstruction', task='grounding', random_instruction=True),
]
grounding_test = [
    dict(type='PackDetInputs', meta_keys=(*meta_keys, 'text')),
    dict(type='AttachInstruction', task='grounding'),
]
captioning_train = [
    dict(type='PackDetInputs', meta_keys=(*meta_keys, 'gt_caption')),
    dict(type='AttachInstruction', task='captioning', random_instruction=True),
]
captioning_test = [pack_test, dict(type='AttachInstruction', task='captioning')]
vqa_train = [
    dict(
        type='PackDetInputs',
        meta_keys=(*meta_keys, 'question', 'question_id', 'gt_answer', 'gt_answer_weight')),
    dict(type='AttachInstruction', task='vqa', random_instruction=True),
]
vqa_test = [
    dict(type='PackDetInputs', meta_keys=(*meta_keys, 'question', 'question_id')),
    dict(type='AttachInstruction', task='vqa'),
]
conversation_train = [
    dict(type='PackDetInputs', meta_keys=(*meta_keys, 'conversation')),
    dict(type='AttachInstruction', task='conversation'),
]
