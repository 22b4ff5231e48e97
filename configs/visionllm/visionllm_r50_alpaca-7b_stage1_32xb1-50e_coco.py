# The paper's stage 1 (3.5) in our better form: ResNet-50, Alpaca-7B with LoRA, COCO detection, 50 epochs, 4 nodes x
# 8 GPUs x 1 image.
#
# With slurm:
#   mim train mmvisionllm visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py \
#       --launcher slurm --partition PARTITION --gpus 32 --gpus-per-node 8
# Without, on each node (NODE_RANK 0 to 3), in a clone of the repository:
#   torchrun --nnodes 4 --nproc-per-node 8 --node-rank NODE_RANK --master-addr ADDRESS --master-port 29500 \
#       tools/train.py configs/visionllm/visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py --launcher pytorch
# One node, with the learning rate scaled to it:
#   mim train mmvisionllm visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py --launcher pytorch --gpus 8 --auto-scale-lr
#
# Three things are fetched unless you have them; each is a hub id, a URL or a path of yours:
#   --cfg-options model.bbox_head.language_model.pretrained=FOLDER model.neck.text_encoder.pretrained=FOLDER \
#       model.init_cfg.checkpoint=FILE
_base_ = ['./visionllm-paper_r50_alpaca-7b_stage1_32xb1-50e_coco.py', '../_base_/models/refined_boxes.py']
model = dict(
    init_cfg=dict(
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/deformable_detr/'
        'deformable-detr-refine_r50_16xb2-50e_coco/'
        'deformable-detr-refine_r50_16xb2-50e_coco_20221022_225303-844e0f93.pth'),
    neck=_base_.refined_neck,
    bbox_head=_base_.refined_bbox_head,
    train_cfg=None)
