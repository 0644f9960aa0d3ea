"""HF transformers' M2M100, pre-norm as ours, with the weights of one of our Transformers."""

import torch
from transformers import GenerationConfig, M2M100Config, M2M100ForConditionalGeneration

from benchmarks._torch_peers import copy_linear, copy_norm, tensor


@torch.no_grad()
def copy_parts(ours, parts):
    """One matrix of ours, side by side in several of theirs."""
    kernels, biases = tensor(ours.kernel).T.chunk(len(parts)), tensor(ours.bias).chunk(len(parts))
    for part, kernel, bias in zip(parts, kernels, biases):
        part.weight.copy_(kernel)
        part.bias.copy_(bias)


def copy_block(ours, theirs):
    """One block's weights."""
    own, cross, inner = ours.self_attention, ours.cross_attention, theirs.self_attn
    copy_parts(own.query_key_value, [inner.q_proj, inner.k_proj, inner.v_proj])
    copy_linear(own.out, inner.out_proj)
    norms = [theirs.self_attn_layer_norm, theirs.final_layer_norm]
    if cross is not None:
        outer = theirs.encoder_attn
        copy_linear(cross.to_query, outer.q_proj)
        copy_parts(cross.key_value, [outer.k_proj, outer.v_proj])
        copy_linear(cross.out, outer.out_proj)
        norms.insert(1, theirs.encoder_attn_layer_norm)
    for a, b in zip(ours.norms, norms, strict=True):
        copy_norm(a, b)
    copy_linear(ours.feed_forward.up, theirs.fc1)
    copy_linear(ours.feed_forward.down, theirs.fc2)


def transformers_model(ours, positions):
    """M2M100 with the weights of ours; positions: its table (L, D) of sinusoidal positions."""
    own = ours.options
    sizes = {"layers": own["num_layers"], "attention_heads": own["num_heads"], "ffn_dim": own["mlp_dim"]}
    stacks = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in sizes.items()}
    config = M2M100Config(
        vocab_size=own["vocab_size"], d_model=own["dim"], max_position_embeddings=len(positions), dropout=0.0,
        encoder_layerdrop=0.0, decoder_layerdrop=0.0, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, **stacks,
    )  # fmt: skip
    model = M2M100ForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.model.shared.weight.copy_(tensor(ours.source_embedding.table))
    for mine, stack in ((ours.encoder, model.model.encoder), (ours.decoder, model.model.decoder)):
        first = torch.zeros(1, own["dim"])  # theirs begin after the position of padding
        stack.embed_positions.weights = torch.cat([first, torch.from_numpy(positions)])
        copy_norm(mine.norm, stack.layer_norm)
        for a, b in zip(mine.blocks, stack.layers, strict=True):
            copy_block(a, b)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    return model


def written(model, source, beams, length):
    """Ids (B, length)."""
    settings = GenerationConfig(
        num_beams=beams, do_sample=False, max_new_tokens=length, min_new_tokens=length, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    source = torch.from_numpy(source).long()
    return model.generate(source, attention_mask=(source != 0).long(), generation_config=settings).numpy()[:, 1:]
