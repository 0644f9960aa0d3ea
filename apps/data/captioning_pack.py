"""Makes the captioning pack: every emoji as two artists drew it, and its English name.

    python -m apps.data.build captioning
"""

import hashlib
import io
import json
import pathlib

from apps.data import packages

ABOUT = "emoji by two artists with their names; Apache-2.0, CC BY 4.0 and Unicode-3.0"
FOLDER = pathlib.Path(__file__).parent / "captioning"
ARTISTS = {
    "google": ("emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
    "twitter": ("emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"),
}
NAMES = {
    "annotations": ("cldr-annotations-full", "48.2.0", "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1"),
    "annotationsDerived": (
        "cldr-annotations-derived-full", "48.2.0", "4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e",
    ),
}  # fmt: skip
SPLITS = ("train", "valid", "test")
TEST, VALID = 10, 5  # per cent of the emoji
SIZE, COLUMNS = 64, 62  # pixels of a picture; pictures in a row of a sheet
QUALITY = 90  # of the WebP: all without loss would be twice as large
VARIATION = "\ufe0f"  # asks for a coloured picture; the names are listed without it


# Emoji --------------------------------------------------------------------------------------------------------------


def emoji(listing):
    """{name of the picture file: emoji} of the packages' emoji.json, with all skin tones."""
    rows = [row for entry in listing for row in (entry, *entry.get("skin_variations", {}).values())]
    return {row["image"]: "".join(chr(int(code, 16)) for code in row["unified"].split("-")) for row in rows}


def names(files, kind):
    """{emoji: name} of one of CLDR's packages: the text to be read aloud."""
    listed = json.loads(files[f"{kind}/en/annotations.json"])[kind]["annotations"]
    return {key.replace(VARIATION, ""): value["tts"][0] for key, value in listed.items() if "tts" in value}


def split_of(sign):
    """The split of an emoji, by a hash of its code points: the same for every artist.

    Example:
        >>> split_of("\\U0001f600")
        'train'
    """
    return packages.drawn(sign.replace(VARIATION, ""), TEST, VALID)


def rows_of(images, named, drawn):
    """Rows (split, code points, name) of the emoji that have a name and that every artist drew, and their files."""
    rows = []
    for file, sign in images.items():
        name = named.get(sign.replace(VARIATION, ""))
        if name and all(file in files for files in drawn):
            rows.append((split_of(sign), "-".join(f"{ord(c):x}" for c in sign), name, file))
    rows.sort(key=lambda row: SPLITS.index(row[0]))  # else in the order of the source
    return [row[:3] for row in rows], [row[3] for row in rows]


# Pictures -----------------------------------------------------------------------------------------------------------


def pictures(package, artist):
    """{name of the file: bytes} of an artist's pictures of 64 pixels."""
    start = f"img/{artist}/{SIZE}/"
    return {path.removeprefix(start): data for path, data in package.items() if path.startswith(start)}


def sheet(contents):
    """Pictures in rows of 62 on one sheet, as WebP bytes; transparent pixels stay transparent."""
    from PIL import Image

    whole = Image.new("RGBA", (COLUMNS * SIZE, -(-len(contents) // COLUMNS) * SIZE))
    for number, content in enumerate(contents):
        row, column = divmod(number, COLUMNS)
        with Image.open(io.BytesIO(content)) as picture:
            whole.paste(picture.convert("RGBA"), (column * SIZE, row * SIZE))
    buffer = io.BytesIO()
    whole.save(buffer, "WEBP", quality=QUALITY, alpha_quality=100, method=4)
    return buffer.getvalue()


# The pack -----------------------------------------------------------------------------------------------------------


def add_flags(parser):
    """The flags of `python -m apps.data.build captioning`."""
    packages.add_flags(parser, "the four packages' files, 147 MB", "npm")


def build(folder=None, out=FOLDER):
    """Writes `emoji.tsv.gz`, a sheet of pictures for each artist, the facts and the card into `out`.

    Args:
        folder: Where the packages' files lie; None downloads them with npm.
        out: Folder of the pack.
    """
    named = {}
    for kind, source in NAMES.items():
        named = names(packages.files(packages.fetch("npm", *source, folder)), kind) | named
    drawn, listing = {}, None
    for artist, source in ARTISTS.items():
        package = packages.files(packages.fetch("npm", *source, folder))
        drawn[artist], listing = pictures(package, artist), json.loads(package["emoji.json"])
    rows, files = rows_of(emoji(listing), named, drawn.values())
    contents = {"emoji.tsv.gz": packages.tsv(rows)}
    for artist, found in drawn.items():
        contents[f"{artist}.webp"] = sheet([found[file] for file in files])
    facts = facts_of(rows, contents)
    packages.write(out, contents, "captioning.json", facts, CARD)
    print(f"captioning: {facts['emoji']}, {sum(facts['bytes'].values()):,} bytes")


def facts_of(rows, contents):
    """What `captioning.json` says."""
    sources = (*ARTISTS.values(), *NAMES.values())
    words = [word for *_, name in rows for word in name.replace(":", "").replace(",", "").split()]
    return {
        "sources": {f"{name} {version}": sha256 for name, version, sha256 in sources},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "bytes": {name: len(content) for name, content in contents.items()},
        "emoji": {name: sum(row[0] == name for row in rows) for name in SPLITS},
        "pictures": len(rows) * len(ARTISTS),
        "words": {"a name": round(len(words) / max(1, len(rows)), 2), "distinct": len(set(words))},
    }


CARD = f"""# Captioning pack

Emoji, each as two artists drew it, 64 x 64 pixels with transparency, and its English name: "woman: medium skin tone,
red hair". Every name belongs to one emoji.

| what | source | copyright and licence |
|---|---|---|
| `google.webp` | npm `emoji-datasource-google` 16.0.0, `img/google/64` | Noto Emoji, Google LLC, [Apache-2.0](https://www.apache.org/licenses/LICENSE-2.0) |
| `twitter.webp` | npm `emoji-datasource-twitter` 16.0.0, `img/twitter/64` | Twemoji, Twitter, Inc and other contributors, [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/) |
| `emoji.tsv.gz` | npm `cldr-annotations-full` and `cldr-annotations-derived-full` 48.2.0, the English `tts` | Unicode, Inc., [Unicode-3.0](https://www.unicode.org/license.txt) |

The packages of pictures were put together by Cal Henderson (emoji-data, MIT).

- Made by `python -m apps.data.build captioning` (needs `npm`, or the four files: `--from DIR`). Another version of Pillow
  may compress to other bytes. `load_captioning()` in `apps/data` reads the pack and checks the SHA-256 of each file,
  written in `captioning.json`.
- Form: `emoji.tsv.gz` has gzipped UTF-8 lines, `split TAB code points TAB name`. Picture n of a sheet, in rows of
  {COLUMNS}, is that of line n.
- **Changed**: the pictures were put on one sheet for each artist and compressed as WebP of quality {QUALITY}.

## The splits

An emoji belongs to one split with the pictures of both artists, by a hash of its code points: {TEST} % of the emoji for
the test, {VALID} % for validation. Skin tones, directions and other variants of an emoji are emoji of their own, with a name
of their own: "woman running: dark skin tone" may be in the test where "woman running: light skin tone" is not. So the
test asks for names put together from known parts, and, for about a third of it, for words that the training has not
seen: those cannot be right.

A few emoji look the same and have different names, most of them flags: Norway, Bouvet Island, Svalbard & Jan Mayen.

## Facts

"""
