default_scope = 'mmdet'
# All that a config needs to use this package in mmdet.
custom_imports = dict(imports=['mmvisionllm'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Killed at any moment, a training goes on with --resume as if it had never stopped.
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=3),
    exact_resume=dict(type='ExactResumeHook'),
    # A checkpoint without all that was trained is refused, be it to resume, to start from or to test.
    trained_weights=dict(type='TrainedWeightsHook'),
    data_check=dict(type='DataCheckHook'),  # objects per class, and more of them than there are image tokens
    training_report=dict(type='TrainingReportHook'),  # what trains, and the memory it takes
    matmul_precision=dict(type='MatmulPrecisionHook'),  # TF32 on GPUs; precision='highest' for float32
    merge_lora=dict(type='MergeLoRAHook'),  # in a test
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
# Of a test with --tta, mmdet's: boxes of all flips, and of those the best by NMS.
tta_model = dict(
    type='DetTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
# Which weights take part depends on the instruction's format: the LLM's own output layer serves text alone.
find_unused_parameters = True
load_from = None
resume = False
