"""KerasHub's Transformer and Keras' LSTM as a user would build them, with the weights of one of our models."""

import keras
import keras_hub
import numpy as np
from keras import ops


def kernel(*layers):
    """Kernels (D, N, H) and biases (N, H) of KerasHub side by side, as one of ours holds them."""
    kernels, biases = zip(*(layer.get_weights() for layer in layers))
    width = kernels[0].shape[0]
    flat = [k.reshape(width, -1) for k in kernels]
    return [np.concatenate(flat, axis=1), np.concatenate([b.ravel() for b in biases])]


def copy_attention(theirs, ours):
    """The weights of a KerasHub attention into ours."""
    q, k, v = theirs._query_dense, theirs._key_dense, theirs._value_dense
    if ours.is_self:
        ours.query_key_value.set_weights(kernel(q, k, v))
    else:
        ours.to_query.set_weights(kernel(q))
        ours.key_value.set_weights(kernel(k, v))
    out, bias = theirs._output_dense.get_weights()
    ours.out.set_weights([out.reshape(-1, out.shape[-1]), bias])


def copy_block(theirs, ours):
    """The weights of a KerasHub encoder or decoder layer into one of our blocks."""
    norms = [theirs._self_attention_layer_norm, theirs._feedforward_layer_norm]
    copy_attention(theirs._self_attention_layer, ours.self_attention)
    if ours.cross_attention is not None:
        copy_attention(theirs._cross_attention_layer, ours.cross_attention)
        norms.insert(1, theirs._cross_attention_layer_norm)
    for a, b in zip(norms, ours.norms):
        b.set_weights(a.get_weights())
    ours.feed_forward.up.set_weights(theirs._feedforward_intermediate_dense.get_weights())
    ours.feed_forward.down.set_weights(theirs._feedforward_output_dense.get_weights())


class Encoded(keras.Model):
    """Tied embeddings, and what both peers do with tokens; a peer adds `translate`."""

    def __init__(self, options):
        super().__init__()
        self.options = options
        self.embedding = keras_hub.layers.ReversibleEmbedding(
            options["vocab_size"], options["dim"], tie_weights=True, embeddings_initializer="glorot_normal"
        )
        self.embedding.build()

    def embed(self, tokens):
        return self.embedding(tokens) * self.options["dim"] ** 0.5

    def call(self, inputs, training=None):
        source, target = (self.embed(inputs[name]) for name in ("source", "target"))
        y = self.translate(source, ops.not_equal(inputs["source"], 0), target, training)
        return self.embedding(y, reverse=True)


class HubTransformer(Encoded):
    """KerasHub's layers, pre-norm, sinusoidal positions; dropout where ours has it, and so not on the weights."""

    def __init__(self, options):
        super().__init__(options)
        own, dim = options, options["dim"]
        form = {"normalize_first": True, "dropout": own["dropout"], "layer_norm_epsilon": 1e-6}
        self.positions = keras_hub.layers.SinePositionEncoding()
        self.dropouts = [keras.layers.Dropout(own["dropout"]) for _ in range(2)]
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        sizes = (own["mlp_dim"], own["num_heads"])
        self.encoders = [keras_hub.layers.TransformerEncoder(*sizes, **form) for _ in range(own["num_layers"])]
        self.decoders = [keras_hub.layers.TransformerDecoder(*sizes, **form) for _ in range(own["num_layers"])]
        shape = (None, None, dim)
        for layer in [*self.encoders, *self.norms]:
            layer.build(shape)
        for layer in self.decoders:
            layer.build(shape, shape)
        for layer in [*self.encoders, *self.decoders]:
            for attention in (layer._self_attention_layer, getattr(layer, "_cross_attention_layer", None)):
                if attention is not None:
                    attention._dropout = attention._dropout_layer.rate = 0.0
        self.built = True

    def translate(self, source, mask, target, training):
        x, y = (
            dropout(x + self.positions(x), training=training) for dropout, x in zip(self.dropouts, (source, target))
        )  # fmt: skip
        for layer in self.encoders:
            x = layer(x, padding_mask=mask, training=training)
        x = self.norms[0](x)
        for layer in self.decoders:
            y = layer(y, x, encoder_padding_mask=mask, training=training)
        return self.norms[1](y)

    def step(self, tokens, index, context, mask, own, cross, first=None):
        """Tokens (B, T) at index -> logits (B, T, V) and the layers' caches; first=0 fills those of the context."""
        y, states = self.embed(tokens), []
        y = y + self.positions(y, start_index=index)
        for layer, cache, memory in zip(self.decoders, own, cross):
            y, *new = layer(
                y, context, encoder_padding_mask=mask, self_attention_cache=cache,
                self_attention_cache_update_index=index, cross_attention_cache=memory,
                cross_attention_cache_update_index=first,
            )  # fmt: skip
            states.append(new)
        return self.embedding(self.norms[1](y), reverse=True), *map(list, zip(*states))

    def generate(self, source, length, sampler):
        """Ids (B, length) that follow BOS, by one of KerasHub's samplers; caches are used as in its own models."""
        (rows, size), heads = ops.shape(source), self.options["num_heads"]
        head_dim = self.options["dim"] // heads
        x, mask = self.embed(source), ops.not_equal(source, 0)
        x = x + self.positions(x)
        for layer in self.encoders:
            x = layer(x, padding_mask=mask)
        x = self.norms[0](x)
        own, cross = (
            [ops.zeros((rows, 2, places, heads, head_dim)) for _ in self.decoders] for places in (length, size)
        )  # fmt: skip
        prompt = ops.concatenate([ops.ones((rows, 1), "int32"), ops.zeros((rows, length), "int32")], axis=1)
        cross = self.step(prompt[:, :1], 0, x, mask, own, cross, first=0)[2]
        beams = getattr(sampler, "num_beams", 1)
        x, mask, cross = keras.tree.map_structure(lambda part: ops.repeat(part, beams, axis=0), (x, mask, cross))

        def following(prompt, cache, index):
            last = ops.slice(prompt, (0, index - 1), (rows * beams, 1))
            logits, cache, _ = self.step(last, index - 1, x, mask, cache, cross)
            return ops.squeeze(logits, 1), None, cache

        return sampler(following, prompt, own, index=1, mask=ops.equal(prompt, 1), model=self)[:, 1:]

    def give(self, ours):
        """Its weights into a TransformerSeq2Seq."""
        ours.source_embedding.set_weights(self.embedding.get_weights())
        for layers, norm, stack in zip((self.encoders, self.decoders), self.norms, (ours.encoder, ours.decoder)):
            stack.norm.set_weights(norm.get_weights())
            for a, b in zip(layers, stack.blocks, strict=True):
                copy_block(a, b)


class KerasLSTM(Encoded):
    """keras.layers.LSTM both ways, LSTM, dot attention after the loop: as our RecurrentSeq2Seq."""

    def __init__(self, options):
        super().__init__(options)
        units, dim, rate = options["units"], options["dim"], options["dropout"]
        self.encoder = keras.layers.Bidirectional(
            keras.layers.LSTM(units // 2, return_sequences=True, return_state=True)
        )
        self.decoder = keras.layers.LSTM(units, return_sequences=True)
        self.bridges = [keras.layers.Dense(units, activation="tanh") for _ in range(2)]
        self.attention = keras.layers.Attention()
        self.merge = keras.layers.Dense(dim, activation="tanh")
        self.dropouts = [keras.layers.Dropout(rate) for _ in range(3)]
        for layer in (self.encoder, self.decoder):
            layer.build((None, None, dim))
        for layer in self.bridges:
            layer.build((None, units))
        self.merge.build((None, None, 2 * units))
        self.built = True

    def translate(self, source, mask, target, training):
        source, target = (drop(x, training=training) for drop, x in zip(self.dropouts, (source, target)))
        x, h, c, back_h, back_c = self.encoder(source, mask=mask)
        pairs = ((h, back_h), (c, back_c))
        state = [bridge(ops.concatenate(pair, axis=-1)) for bridge, pair in zip(self.bridges, pairs)]
        y = self.decoder(target, initial_state=state)
        found = self.attention([y, x], mask=[None, mask])
        return self.dropouts[2](self.merge(ops.concatenate([y, found], axis=-1)), training=training)

    def give(self, ours):
        """Its weights into a RecurrentSeq2Seq."""
        pairs = [
            (self.embedding, ours.source_embedding), (self.encoder.forward_layer, ours.encoder.forwards[0]),
            (self.encoder.backward_layer, ours.encoder.backwards[0]), (self.decoder, ours.decoder.layers[0]),
            *zip(self.bridges, ours.decoder.bridges[0]), (self.merge, ours.decoder.merge),
        ]  # fmt: skip
        for theirs, own in pairs:
            own.set_weights(theirs.get_weights())
