"""Files inside a .tflite: the vocabulary and a JSON card travel with the weights.

A .tflite is a flatbuffer; a zip archive is appended to it (the "associated files" layout). An interpreter reads the
first and ignores the second, any unzip the other way round.
"""

import io
import json
import zipfile

VOCABULARY, CARD = "tokenizer.model", "card.json"
GOLDEN = "golden.json"  # lies beside the files


def add_files(content, files):
    """A .tflite with a zip archive of {name: bytes} behind it; the flatbuffer itself stays as it is."""
    buffer = io.BytesIO()
    buffer.write(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # same input, same bytes
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def read_files(path):
    """{name: bytes} of what lies behind the flatbuffer; empty where nothing does."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_card(content, card, files):
    """The file as it is handed on: with a JSON card and other files, of bytes or of what JSON can hold."""
    plain = {name: data if isinstance(data, bytes) else as_json(data) for name, data in files.items()}
    return add_files(content, {**plain, CARD: as_json(card)})


def as_json(data):
    """UTF-8 bytes for a person and a machine to read."""
    return json.dumps(data, indent=1, ensure_ascii=False).encode()
