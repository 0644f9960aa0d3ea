"""The same models in plain torch, with the weights of one of ours."""

import torch
from torch import nn
from torch.nn import functional


def tensor(variable):
    """A Keras variable as a torch parameter's content."""
    import numpy as np

    return torch.from_numpy(np.array(variable, "float32"))


@torch.no_grad()
def copy_linear(ours, theirs):
    theirs.weight.copy_(tensor(ours.kernel).T)
    theirs.bias.copy_(tensor(ours.bias))


@torch.no_grad()
def copy_norm(ours, theirs):
    theirs.weight.copy_(tensor(ours.gamma))
    theirs.bias.copy_(tensor(ours.beta))


@torch.no_grad()
def copy_attention(ours, theirs):
    parts = [ours.query_key_value] if ours.is_self else [ours.to_query, ours.key_value]
    theirs.in_proj_weight.copy_(torch.cat([tensor(part.kernel).T for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([tensor(part.bias) for part in parts]))
    copy_linear(ours.out, theirs.out_proj)


@torch.no_grad()
def copy_lstm(ours, theirs, suffix=""):
    """A Keras LSTM has one bias, torch's two, one of which stays zero and does not learn."""
    getattr(theirs, f"weight_ih_l0{suffix}").copy_(tensor(ours.cell.kernel).T)
    getattr(theirs, f"weight_hh_l0{suffix}").copy_(tensor(ours.cell.recurrent_kernel).T)
    getattr(theirs, f"bias_ih_l0{suffix}").copy_(tensor(ours.cell.bias))
    spare = getattr(theirs, f"bias_hh_l0{suffix}")
    spare.zero_().requires_grad_(False)


def copy_block(block, layer):
    """One of our blocks into a layer of torch's, from which what drops out where ours does not is taken."""
    layer.dropout = nn.Identity()  # inside the feed-forward
    pairs = [(block.self_attention, layer.self_attn)]
    norms = [layer.norm1, layer.norm2]
    if block.cross_attention is not None:
        pairs.append((block.cross_attention, layer.multihead_attn))
        norms.append(layer.norm3)
    for ours, theirs in pairs:
        theirs.dropout = 0.0
        copy_attention(ours, theirs)
    for ours, theirs in zip(block.norms, norms, strict=True):
        copy_norm(ours, theirs)
    copy_linear(block.feed_forward.up, layer.linear1)
    copy_linear(block.feed_forward.down, layer.linear2)


class Tied(nn.Module):
    """Embeddings that also make the logits."""

    def __init__(self, ours):
        super().__init__()
        options = self.options = ours.options
        self.embedding = nn.Embedding(options["vocab_size"], options["dim"])
        with torch.no_grad():
            self.embedding.weight.copy_(tensor(ours.target_embedding.table))

    def embed(self, tokens):
        return self.embedding(tokens) * self.options["dim"] ** 0.5

    def forward(self, source, target):
        return self.translate(source, target) @ self.embedding.weight.T

    def trained(self):
        """Parameters that learn."""
        return [p for p in self.parameters() if p.requires_grad]


class TorchTransformer(Tied):
    """torch's stacks, pre-norm, sinusoidal positions; dropout where ours has it, and so not on the weights."""

    def __init__(self, ours):
        super().__init__(ours)
        own = self.options
        form = {"d_model": own["dim"], "nhead": own["num_heads"], "dim_feedforward": own["mlp_dim"]}
        form |= {"dropout": own["dropout"], "activation": own["activation"]}
        stacks = self.stacks(ours, {**form, "norm_first": True, "batch_first": True, "layer_norm_eps": 1e-6})
        self.drop = nn.Dropout(own["dropout"])
        waves = torch.arange(own["dim"])
        angle = torch.arange(2**14)[:, None] * 10000.0 ** (-2.0 * (waves // 2) / own["dim"])
        self.register_buffer("waves", torch.where(waves % 2 == 0, angle.sin(), angle.cos()), persistent=False)
        for theirs, stack in stacks:
            copy_norm(stack.norm, theirs.norm)
            for layer, block in zip(theirs.layers, stack.blocks, strict=True):
                copy_block(block, layer)

    def stacks(self, ours, form):
        """Makes the stacks and pairs them with ours."""
        self.encoder, self.decoder = self.encoders(form), self.decoders(form)
        return (self.encoder, ours.encoder), (self.decoder, ours.decoder)

    def encoders(self, form):
        norm, layer = nn.LayerNorm(form["d_model"], eps=1e-6), nn.TransformerEncoderLayer(**form)
        return nn.TransformerEncoder(layer, self.options["num_layers"], norm, enable_nested_tensor=False)

    def decoders(self, form):
        norm, layer = nn.LayerNorm(form["d_model"], eps=1e-6), nn.TransformerDecoderLayer(**form)
        return nn.TransformerDecoder(layer, self.options["num_layers"], norm)

    def enter(self, tokens):
        return self.drop(self.embed(tokens) + self.waves[: tokens.shape[1]])

    def later(self, tokens):
        """True where a token may not look."""
        return torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).triu(1)

    def translate(self, source, target):
        padding = source == 0
        memory = self.encoder(self.enter(source), src_key_padding_mask=padding)
        return self.decoder(
            self.enter(target), memory, tgt_mask=self.later(target), memory_key_padding_mask=padding, tgt_is_causal=True
        )


class TorchLanguageModel(TorchTransformer):
    """torch's encoder with a causal mask, as our TransformerLanguageModel."""

    def stacks(self, ours, form):
        self.over = self.encoders(form)
        return ((self.over, ours.over),)

    def forward(self, target):
        y = self.over(self.enter(target), mask=self.later(target), is_causal=True)
        return y @ self.embedding.weight.T


class TorchLSTM(Tied):
    """nn.LSTM both ways, nn.LSTM, dot attention after the loop: as our RecurrentSeq2Seq."""

    def __init__(self, ours):
        super().__init__(ours)
        units, dim = self.options["units"], self.options["dim"]
        self.encoder = nn.LSTM(dim, units // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(dim, units, batch_first=True)
        self.bridges = nn.ModuleList([nn.Linear(units, units) for _ in range(2)])
        self.merge = nn.Linear(2 * units, dim)
        self.drop = nn.Dropout(self.options["dropout"])
        copy_lstm(ours.encoder.forwards[0], self.encoder)
        copy_lstm(ours.encoder.backwards[0], self.encoder, "_reverse")
        copy_lstm(ours.decoder.layers[0], self.decoder)
        for own, theirs in [*zip(ours.decoder.bridges[0], self.bridges), (ours.decoder.merge, self.merge)]:
            copy_linear(own, theirs)

    def translate(self, source, target):
        x, states = self.encoder(self.drop(self.embed(source)))
        state = [torch.tanh(bridge(torch.cat([s[0], s[1]], -1)))[None] for bridge, s in zip(self.bridges, states)]
        y, _ = self.decoder(self.drop(self.embed(target)), tuple(state))
        sees = (source != 0)[:, None]
        scores = (y @ x.transpose(1, 2)).masked_fill(~sees, -1e9)
        found = functional.softmax(scores.float(), -1).to(x.dtype) @ x
        return self.drop(torch.tanh(self.merge(torch.cat([y, found], -1))))


def trainer(model, batch, bfloat16=False, rate=1e-3, compiled=False):
    """A function that takes one step of Adam and returns the loss."""
    *inputs, labels = batch
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.trained(), rate, eps=1e-7, fused=True)
    model.train()

    def step():
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=bfloat16):
            logits = run(*inputs)
        loss = functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    return step
