"""Files as text: UTF-8, or an error that names the line."""

import gzip
import zlib

GZIP = b"\x1f\x8b"  # the first bytes of a gzipped file


def decoded(path):
    """The text of a UTF-8 file, gzipped or not; line breaks become a line feed.

    Raises:
        ValueError: naming the line, for a file that cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == GZIP else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a whole gzipped file, got a damaged one ({error}); get it again") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return utf8(path, data).replace("\r\n", "\n").replace("\r", "\n")


def utf8(path, data):
    """UTF-8 bytes as text.

    Raises:
        ValueError: naming the line, for other bytes.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path}, line 1: expected UTF-8 text, got UTF-16; save the file as UTF-8")
    if (zero := data.find(b"\0")) >= 0:
        raise ValueError(f"{path}, line {line_of(data, zero)}: expected text, got a binary file (a zero byte); give a "
                         "text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {line_of(error.object, error.start)}: expected UTF-8 text, got the byte "
                         f"0x{error.object[error.start]:02x}; save the file as UTF-8") from error


def line_of(data, offset):
    return data.count(b"\n", 0, offset) + 1
