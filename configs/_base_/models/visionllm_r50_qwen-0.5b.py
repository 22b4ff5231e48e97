# ResNet-50 and Qwen2.5-0.5B: a VisionLLM for one card of 24 GB.
_base_ = ['./visionllm_r50.py']
model = dict(
    bbox_head=dict(
        language_model=dict(
            pretrained='Qwen/Qwen2.5-0.5B',  # Apache-2.0; hub id or folder
            torch_dtype='bfloat16',  # 1 GB, see visionllm_r50_alpaca-7b.py
            # As the paper: frozen but for LoRA on all linear layers. In full it would train, too (torch_dtype='float32',
            # lora=None, frozen=False): 16 bytes for each of 494M weights, gradients and AdamW's moments are 7.9 GB, the
            # room of one of the two images of a batch. Rank 64 and not 16: its layers are a fifth as wide as those of a
            # 7B model, so that adapters of the same rank would have a fifth of the weights; memory is no reason to save
            # them here.
            lora=dict(r=64, lora_alpha=128, lora_dropout=0.05, target_modules='all-linear'))))

architectures = dict(
    LanguageModel=dict(  # Qwen2.5-0.5B
        model_type='qwen2',
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        rope_theta=1000000.0,
        tie_word_embeddings=True))
