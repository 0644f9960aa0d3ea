"""The pictures of docs/layers.md: python -m keras_seq.plots [--output docs/images] [name ...]."""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m keras_seq.plots", description="Draws masks, position encodings and what else layers do."
    )
    parser.add_argument("names", nargs="*", help="pictures to draw; all of them when left out")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder (default: %(default)s)")
    args = parser.parse_args(argv)

    from keras_seq.plots.layers import PICTURES
    from keras_seq.plots.style import save

    unknown = set(args.names) - set(PICTURES)
    if unknown:
        parser.error(f"expected names out of {', '.join(PICTURES)}; got {', '.join(sorted(unknown))}")
    for name in args.names or PICTURES:
        path = args.output / f"{name}.png"
        save(PICTURES[name](), path, colors=200)
        print(path)


if __name__ == "__main__":
    main()
