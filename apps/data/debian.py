"""Debian packages as a source of data: fetched by apt, or given as files, and read with the standard library alone."""

import hashlib
import io
import pathlib
import subprocess
import tarfile
import tempfile

HELP = "download them on a Debian 12 machine or container with `apt-get download {}`, and give their folder: --from DIR"


def fetch(packages, version, folder=None):
    """The bytes of Debian packages of one version: from a folder of .deb files, or else by `apt-get download`.

    Args:
        packages: Names of packages.
        version: What the version must be, for example `"4:7.4.7-1+deb12u14"`.
        folder: Where the .deb files lie; None downloads them.

    Returns:
        {name of the package: bytes}.

    Raises:
        ValueError: where a package is not to be had.
    """
    if folder is not None:
        return {name: _find(pathlib.Path(folder), name, version) for name in packages}
    wanted = [f"{name}={version}" for name in packages]
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(["apt-get", "download", *wanted], cwd=folder, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
            raise ValueError(f"apt-get cannot download {' '.join(wanted)} ({reason}); run `apt-get update` first, or "
                             + HELP.format(" ".join(wanted))) from error
        return {name: _find(pathlib.Path(folder), name, version) for name in packages}


def _find(folder, name, version):
    number = version.split(":")[-1]  # apt writes the epoch into the file's name, the archive's own files lack it
    found = sorted(path for path in folder.glob(f"{name}_*{number}_*.deb"))
    if not found:
        raise ValueError(f"{folder}: expected {name}_{number}_all.deb, found no such file; "
                         + HELP.format(f"{name}={version}"))
    return found[0].read_bytes()


def sha256(data):
    """The SHA-256 checksum of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def files(package, suffix):
    """Yields (path, bytes) of the files in a package's bytes whose path ends on `suffix`."""
    for name, member in _archive(package):
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(member)) as tar:
                for entry in tar:
                    if entry.isfile() and entry.name.endswith(suffix):
                        yield entry.name, tar.extractfile(entry).read()


def _archive(data):
    """Yields (name, bytes) of an ar archive, which a .deb is: 60 bytes of header before each even-sized file."""
    if not data.startswith(b"!<arch>\n"):
        raise ValueError("expected a Debian package (an ar archive), found other bytes; download it again")
    position = 8
    while position < len(data):
        name, size = data[position:position + 16].decode().strip(" /"), int(data[position + 48:position + 58])
        yield name, data[position + 60:position + 60 + size]
        position += 60 + size + size % 2
