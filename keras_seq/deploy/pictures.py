"""What a model sees of pictures: in words for a card, and of the bytes of files as a graph for a SavedModel."""


def picture_card(channels=3):
    """What the card of a file says of the pictures that it reads, as `keras_seq.data.shown` makes them.

    Example:
        >>> sorted(picture_card())
        ['image']
    """
    colours = "0.299 red + 0.587 green + 0.114 blue" if channels == 1 else "red, green and blue"
    return {
        "image": "the whole picture, upright, scaled by an antialiased bicubic filter, in the middle of a white "
        f"square; {colours} from 0 to 1"
    }


def decode_pictures(files, size):
    """Pictures whole and in the middle of a square, on white, as `keras_seq.data.shown` gives them but for rounding.

    Of an animation the first frame is taken; a camera's note on which way is up is not followed.

    Args:
        files: string (B,), the bytes of PNG, JPEG, GIF, BMP or WebP files.
        size: height and width of the result.

    Returns:
        float32 (B, size, size, 3) from 0 to 1.

    Example:
        >>> raw = {"pictures": lambda pictures: {"image": decode_pictures(pictures, 64)}}  # of `export_checked`
    """
    import tensorflow as tf

    shape = tf.TensorSpec((size, size, 3))
    return tf.map_fn(lambda data: _fit(_on_white(_decode(data)), size), files, fn_output_signature=shape)


def _decode(data):
    """The bytes of one file -> uint8 (H, W, 4)."""
    import tensorflow as tf

    def opaque():
        picture = tf.io.decode_image(data, 3, expand_animations=False)
        return tf.concat([picture, tf.fill(tf.shape(picture[..., :1]), tf.constant(255, "uint8"))], -1)

    def transparent():
        return tf.io.decode_image(data, 4, expand_animations=False)

    head = tf.strings.substr(data, 0, 2)
    picture = tf.cond(tf.reduce_any(tf.equal(head, [b"\xff\xd8", b"GI", b"BM"])), opaque, transparent)
    return tf.ensure_shape(picture, (None, None, 4))


def _on_white(picture):
    import tensorflow as tf

    rgba = tf.cast(picture, "float32") / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def _fit(picture, size):
    """A picture (H, W, 3) in the middle of (size, size, 3)."""
    import tensorflow as tf

    sides = tf.cast(tf.shape(picture)[:2], "float32")
    sides = tf.maximum(tf.cast(tf.round(sides * size / tf.reduce_max(sides)), "int32"), 1)
    picture = tf.clip_by_value(tf.image.resize(picture, sides, "bicubic", antialias=True), 0, 1)
    before = (size - sides) // 2
    margins = tf.concat([tf.stack([before, size - sides - before], 1), [[0, 0]]], 0)
    return tf.ensure_shape(tf.pad(picture, margins, constant_values=1), (size, size, 3))
