# Weights, gradients and optimizer states divided among the processes (FSDP2). Added to a config:
#   _base_ = ['./visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py', '../_base_/strategies/fsdp.py']
# It pays where the language model does not fit into each GPU: of 7B in bfloat16, 13.5 GB, eight processes hold 1.7 GB
# each and gather one layer of 0.4 GB at a time. Where it fits, DDP communicates less: LoRA's gradients alone.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FullyShardedStrategy',
    # Gathered again for the backward pass. False: a third less communication, and the whole language model in each GPU
    # from the forward pass on; what is saved then are optimizer states.
    reshard_after_forward=True,
    cpu_offload=False)  # True: the shards rest in the CPU's memory, and the optimizer runs there, slowly
