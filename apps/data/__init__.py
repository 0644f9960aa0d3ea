"""The data that comes with the apps, and the scripts that made it. Each pack's README.md is its card."""

import gzip
import hashlib
import json
import pathlib

FOLDER = pathlib.Path(__file__).parent


def load_translation(language="fr", folder=FOLDER / "translation"):
    """Pairs of English and another language from the help of LibreOffice, split by page without near copies.

    Args:
        language: One for which there is a pack; `fr` comes with the repository.
        folder: Where the packs lie.

    Returns:
        {"train": [(english, foreign), ...], "valid": [...], "test": [...]}, always in the same order.

    Raises:
        ValueError: if there is no such pack, or the file is not the one that was made.

    Example:
        >>> load_translation("fr")["test"][0]   # doctest: +SKIP
    """
    path, folder = pathlib.Path(folder) / f"en-{language}.tsv.gz", pathlib.Path(folder)
    if not path.exists():
        there = ", ".join(sorted(p.name[3:-7] for p in folder.glob("en-*.tsv.gz"))) or "none"
        raise ValueError(f"no translation pack for {language!r} (there is {there}); make it with "
                         f"`python -m apps.data.build translation --languages {language}`")
    splits = {"train": [], "valid": [], "test": []}
    for line in _checked(path).splitlines():
        name, _, english, foreign = line.split("\t")
        splits[name].append((english, foreign))
    return splits


def _checked(path):
    """The text of a gzipped file whose bytes are those that its facts name."""
    data = path.read_bytes()
    expected = json.loads(path.with_name(path.name.replace(".tsv.gz", ".json")).read_text(encoding="utf-8"))["sha256"]
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{path}: expected SHA-256 {expected[:16]}..., found {found[:16]}...; the file is damaged or "
                         "was changed: restore it with git, or make it anew with `python -m apps.data.build`")
    return gzip.decompress(data).decode("utf-8")
