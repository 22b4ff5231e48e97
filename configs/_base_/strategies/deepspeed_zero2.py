# Gradients and optimizer states divided among the processes by DeepSpeed (pip install deepspeed). Added to a config:
#   _base_ = ['./visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py', '../_base_/strategies/deepspeed_zero2.py']
# With adapters alone there is little to divide: 16 bytes for each of 224M weights are 3.6 GB. It pays where the language
# model trains in full. To divide the weights, see fsdp.py.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedZeROStrategy',
    exclude_frozen_parameters=True,  # checkpoints without the frozen language model: it comes from `pretrained`
    zero_optimization=dict(
        stage=2,
        overlap_comm=True,  # gradients are summed while the backward pass goes on
        contiguous_gradients=True,  # no fragments of memory from that
        reduce_bucket_size=50_000_000))  # 0.2 GB in float32; DeepSpeed's own are ten times as large
