# mmengine's DDP by its FlexibleRunner. With its plain Runner, DDP is what --launcher does, and needs no such file.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='DDPStrategy',
    model_wrapper=dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,  # statistics of BatchNorm are frozen, or each process's own
        # Which weights take part depends on the iteration's task. FlexibleRunner does not read the config's own setting.
        find_unused_parameters=True))
