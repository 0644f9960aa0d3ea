"""Makes the data packs from named, pinned packages; needed by whoever changes a pack, not by whoever trains.

    pip install -e .[build]
    python -m apps.data.build translation                        # downloads two Debian packages with apt-get
    python -m apps.data.build translation --from DIR             # .deb files that lie in DIR
    python -m apps.data.build translation --languages fr,de,es
"""

import argparse
import sys

from apps.data import translation_pack


def parser():
    main = argparse.ArgumentParser(prog="python -m apps.data.build", description=__doc__.splitlines()[0])
    packs = main.add_subparsers(dest="pack", required=True, metavar="PACK")
    pack = packs.add_parser("translation", help="pairs of paragraphs from the help of LibreOffice, MPL-2.0")
    pack.add_argument("--languages", default="fr", help="Debian's names with commas between: fr,de,es (default: fr)")
    pack.add_argument("--from", dest="folder", metavar="DIR",
                      help="folder with the .deb files (default: apt-get download)")
    pack.add_argument("--out", default=translation_pack.FOLDER, help="where the pack goes (default: %(default)s)")
    return main


def main(argv=None):
    args = parser().parse_args(argv)
    try:
        translation_pack.build(args.languages.split(","), args.folder, args.out)
    except (ValueError, ImportError, OSError) as error:
        hint = "; install the tools with `pip install -e .[build]`" if isinstance(error, ImportError) else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
