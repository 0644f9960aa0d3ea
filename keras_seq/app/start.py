"""Starting Keras: quiet, seeded, and with the time it took."""

import contextlib
import logging
import os
import sys
import tempfile
import time
import warnings

IMPORTED = time.time()


def start(seed: int = 0) -> None:
    """Imports tensorflow and keras without their chatter and seeds everything."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if not sys.warnoptions:  # `python -W error` wants to see them
        for module in ("keras", "tensorflow", "google"):
            warnings.filterwarnings("ignore", module=rf"{module}\.")
    with quiet():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()
    # On a CPU this makes runs equal to the last bit; tensorflow's deterministic ops cost a quarter and change nothing.
    keras.utils.set_random_seed(seed)


@contextlib.contextmanager
def quiet():
    """Holds back what C++ libraries write to stderr while they are imported; shows it when the import fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def command_started() -> float:
    """Returns `time.time()` at which this process began; elsewhere than on Linux, at which this file was imported."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stat, open("/proc/uptime") as uptime:
            ticks = int(stat.read().rpartition(")")[2].split()[19])
            return time.time() - float(uptime.read().split()[0]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return IMPORTED


def device() -> str:
    """Returns the device that trains: `CPU, 2 cores` or the name of the GPU."""
    import tensorflow as tf

    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join(names) or f"CPU, {cores} cores, tensorflow {tf.__version__}"


def gpus() -> list:
    import tensorflow as tf

    return tf.config.list_physical_devices("GPU")


def fast_bfloat16() -> bool:
    """Says whether this machine is faster in bfloat16 than in float32: an Ampere GPU or later, or a CPU that has it."""
    import tensorflow as tf

    if gpus():
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus()]
        return all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = set(file.read().split())
    except OSError:  # not Linux: nothing is known, and float32 is never wrong
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def versions() -> dict[str, str]:
    """Returns the versions that a model was made with."""
    import platform

    import keras
    import tensorflow as tf

    from keras_seq import __version__

    return {
        "python": platform.python_version(),
        "keras_seq": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }
