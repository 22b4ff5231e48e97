# The paper's ResNet-50 and Alpaca-7B (3.3, 3.4).
_base_ = ['./visionllm_r50.py']
model = dict(
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
