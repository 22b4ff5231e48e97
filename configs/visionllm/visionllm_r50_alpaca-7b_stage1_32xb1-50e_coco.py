# The paper's stage 1 (3.5): ResNet-50, Alpaca-7B with LoRA, COCO detection, 50 epochs, 4 nodes x 8 GPUs x 1 image.
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
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/coco_detection_instruction.py',
    '../_base_/models/visionllm_r50.py',
    '../_base_/schedules/adamw_cosine_50e.py',
]
model = dict(
    # Paper: start from a pretrained Deformable DETR. Key map: mmvisionllm/models/necks/deformable_detr_weights.py.
    init_cfg=dict(
        type='DeformableDETRWeights',
        checkpoint='https://download.openmmlab.com/mmdetection/v3.0/deformable_detr/'
        'deformable-detr-refine_r50_16xb2-50e_coco/'
        'deformable-detr-refine_r50_16xb2-50e_coco_20221022_225303-844e0f93.pth'),
    bbox_head=dict(
        language_model=dict(
            # A copy of Stanford's Alpaca-7B by a third party; LLaMA's licence applies. Stanford itself releases the
            # difference to LLaMA-7B (tatsu-lab/alpaca-7b-wdiff). Any LLaMA in Hugging Face's format will do.
            pretrained='chavinlo/alpaca-native',
            # 13.5 GB. Computing in bfloat16 needs no AMP then, and the image tokenizer stays in float32: mmcv's
            # deformable attention has no bfloat16 kernel, and locations need more than 8 bits.
            torch_dtype='bfloat16',
            # An image is a sequence of about 600 tokens, plus five for each object: recomputing 32 layers' activations
            # leaves the GPU's memory to large images.
            gradient_checkpointing=True,
            # Paper: the LLM is frozen but for LoRA, of which it gives no sizes. All linear layers, as adapters on
            # attention alone fall short of full fine-tuning (QLoRA, arXiv 2305.14314); rank and dropout are small, as
            # the data is large; alpha is twice the rank, as is usual.
            lora=dict(r=16, lora_alpha=32, lora_dropout=0.05, target_modules='all-linear'))))

architectures = dict(
    LanguageModel=dict(  # LLaMA-7B
        model_type='llama',
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=2048))
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)
