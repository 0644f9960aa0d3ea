"""The command `demo`: a page on this machine that runs the exported file in the browser."""

import errno
import sys
import threading
import webbrowser
from pathlib import Path

from keras_seq.app.cli import UserError, number, one_line_errors
from keras_seq.app.exported import check_seal
from keras_seq.training import store

PORT = 8000
DEMO = "demo.json"  # what the page shows of an app; `export` writes it


def demo_flags(app, sub) -> None:
    port = f"of 127.0.0.1 (default: {PORT}, or a free one where that is taken)"
    sub.add_argument("--port", type=number(int, "a whole number"), metavar="INT", help=port)
    sub.add_argument("--no-open", action="store_true", help="do not open the page in a browser")
    runtime = "folder with the npm packages of LiteRT.js, for a machine without network"
    sub.add_argument("--runtime", metavar="DIR", help=runtime)


def demo_command(app, args) -> None:
    """Serves the page until Ctrl-C."""
    from keras_seq import demo

    folder = app.folder(args.output)
    about = facts(app, folder)
    with one_line_errors():
        runtime = demo.runtime_folder(args.runtime)
    with opened(folder, about, runtime, args.port) as server:
        runs = f"the exported file ({', '.join(about['formats'])})"
        print(f"{app.name}: {server.url} runs {runs} in your browser; Ctrl-C ends it", flush=True)
        if not args.no_open:
            threading.Timer(0.3, webbrowser.open, [server.url]).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)


def facts(app, folder: Path) -> dict:
    """Returns what the page shows: the app, its exported files, and what the app says of its page.

    Raises:
        UserError: where nothing was exported, or not from this model.
    """
    app.settings(folder)
    files = [path for path in sorted(folder.glob("model_*.tflite")) if not path.stem.endswith("_dynamic")]
    if not files:
        command = f"{app.command} export{app.flag(folder)}"
        raise UserError(f"expected exported files in {folder}, got none: run `{command}` first")
    check_seal(app, folder)
    formats = {path.stem.removeprefix("model_"): {"file": path.name, "bytes": path.stat().st_size} for path in files}
    own = store.read_json(folder / DEMO) if (folder / DEMO).exists() else {}
    return {"app": app.name, "summary": app.doc.partition("\n")[0], "formats": formats, **own}


def opened(folder: Path, about: dict, runtime: Path, port: int | None):
    """Returns the server on a port that is free."""
    from keras_seq import demo

    try:
        return demo.server(folder, about, runtime, PORT if port is None else port)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE and port is None:
            return demo.server(folder, about, runtime, 0)
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"expected a free port, got {port} ({reason}): give another with --port") from error


def write_page(app, trained, stage: Path, rows) -> None:
    """Writes what the app says of its page, and samples with what the model answers, beside the exported files."""
    if app.demo:
        with one_line_errors():
            page = app.demo(trained.config, trained.model, trained.assets, rows)
        (stage / DEMO).write_bytes(store.to_json(page))
