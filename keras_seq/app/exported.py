"""`predict --exported`: the exported file answers instead of the model, in a fraction of a second: no tensorflow."""

import sys
from pathlib import Path

from keras_seq.app.cli import UserError, as_option

FORMATS = ("int8", "f32", "f16", "int4")  # the first that is there answers
SEAL = "report.json"  # `export` writes it, and whoever writes new weights removes it
UTF8, PROBABILITIES = "utf8", "probabilities"


def answering(app, folder: Path, given: dict):
    """Returns a function from texts to results, as `app.predict` makes them of one text.

    Args:
        app: the App.
        folder: that of the model, where `export` has put its files.
        given: {name: value} of the options on the command line.

    Raises:
        UserError: where there is no such file, it is one of another model, does not read text, or is asked for what it
            cannot do.
    """
    path = next((path for form in FORMATS if (path := folder / f"model_{form}.tflite").exists()), None)
    if path is None:
        raise UserError(f"no exported file in {folder}: run `{app.command} export{app.flag(folder)}` first")
    check_seal(app, folder)
    from keras_seq.deploy.runners import LiteRTFile

    file = LiteRTFile(path)
    card = file.card()
    signature = signature_for(given, file.signatures, card)
    if signature not in file.signatures:
        raise UserError(f"expected a file that reads text, got {path}: leave --exported out")
    names = (card.get("labels") or {}).get("names")
    if not app.tells and not {UTF8, *([PROBABILITIES] if names else [])} & set(file.signatures[signature]["outputs"]):
        raise UserError(f"expected a file that answers with a text or a label, got {path}: leave --exported out")

    def answers(texts: list[str]) -> list:
        texts = app.reads(card, texts) if app.reads else texts
        return [answer(text) for text in texts]

    def answer(text: str):
        outputs = file.run(signature, utf8=file.utf8(text, signature))
        if size := cut(file, text, outputs):
            print(f"the file reads {size} tokens: the end of {text[:40]!r}... was left out", file=sys.stderr)
        if app.tells:
            return app.tells(file, text, {name: x[0] for name, x in outputs.items()})
        result = readable(outputs, names)
        return iter([text, result]) if "prompt" in outputs else result

    return answers


def cut(file, text: str, outputs: dict) -> int:
    """Returns how many tokens a file reads of a text, if it has more; 0 where it was read to its end."""
    ids = next((outputs[name][0] for name in ("source", "tokens") if name in outputs), None)
    if "prompt" in outputs or ids is None or not ids[-1]:  # of a prompt the end counts; a row with room was not cut
        return 0
    return len(ids) - 1 if len(file.tokenizer().encode(text)) >= len(ids) else 0


def check_seal(app, folder: Path) -> None:
    """Raises UserError where the exported files are of another model than the one that lies beside them."""
    if not (folder / SEAL).exists():
        again = f"run `{app.command} export{app.flag(folder)}` again"
        raise UserError(f"expected files exported from the model in {folder}, got those of an earlier one: {again}")


def signature_for(given: dict, signatures: dict, card: dict) -> str:
    """Returns the signature that does what the options say: beam search where the file has it.

    Raises:
        UserError: for options that were fixed when the file was exported.
    """
    widths = {1: "text", **({card["beams"]: "text_beam"} if "text_beam" in signatures else {})}
    beams = given.get("beams", max(widths))
    odd = next((name for name in given if name != "beams"), None if beams in widths else "beams")
    if odd:
        flag, known = as_option(odd), " or ".join(map(str, widths))
        wanted = f"--beams {known}" if odd == "beams" else f"no {flag}"
        raise UserError(f"expected {wanted} with --exported, got {given[odd]}: the file searches as it was exported to")
    return widths[beams]


def readable(outputs: dict, names: list[str] | None):
    """Returns what a file has written, or its likeliest label and how likely that is."""
    if UTF8 in outputs:
        from keras_seq.deploy.runners import spelled

        return spelled(outputs[UTF8][0], errors="replace")
    chances = outputs[PROBABILITIES][0]
    best = int(chances.argmax())
    return [names[best], f"{chances[best]:.3f}"]
