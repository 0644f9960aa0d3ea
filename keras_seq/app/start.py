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
        except Exception:
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
    """Says whether this machine is faster in bfloat16 than in float32: it tries both, which takes a moment.

    What a CPU says of itself does not tell: some with AVX512_BF16 train 1.5 times as fast in it, others half as fast.
    """
    import tensorflow as tf

    return seconds_of_a_matmul(tf.bfloat16) < 0.8 * seconds_of_a_matmul(tf.float32)


def seconds_of_a_matmul(dtype, size: int = 512, repeats: int = 5) -> float:
    """Returns the best of some runs of a (size, size) matrix product."""
    import tensorflow as tf

    x = tf.random.stateless_normal((size, size), seed=(1, 2), dtype=tf.float32)
    x, times = tf.cast(x, dtype), []
    for _ in range(repeats):
        begin = time.perf_counter()
        tf.reduce_sum(x @ x).numpy()  # on a GPU: wait for the result
        times.append(time.perf_counter() - begin)
    return min(times)


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
