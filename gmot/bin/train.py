"""Train a Conformer-CTC, with or without knowledge transfer (stage 8).

Resumes from the newest checkpoint in --exp-dir. After SIGTERM or SIGINT it saves its state and
leaves with status 75. Several processes are started by torchrun. Epochs count from 1. Defaults are
the papers' values where they give them; --config files fill options, and the command line wins over
them:

  train.py --config shared/conf/paper.yaml --config egs/CORPUS/conf/gm_ot_setting5.yaml
  --transfer.alpha 0.03 --exp-dir exp/mine ...
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, Layer


def get_parser() -> ArgumentParser:
    from gmot.data.config import DataConfig
    from gmot.model.config import DERIVED, ModelConfig
    from gmot.training.config import TrainingConfig
    from gmot.transfer.config import TransferConfig

    data = ("--prefix", "--fbank-dir", "--train-split")
    parser = make_parser(__doc__, *data, "--device", "--num-threads", with_config=True)
    parser.add_argument("--dev-split", default="dev", help="split evaluated after each epoch")
    add_options(parser, "--exp-dir", help="folder for checkpoints and logs")
    add_options(parser, "--lang-dir", help="tokens (stage 4)")
    add_options(
        parser, "--teacher", help="needed if its tokenizer made the tokens, or by an adapter"
    )
    parser.add_argument(
        "--teacher-store", help="features of the teacher (stage 7), which most transfers need"
    )
    parser.add_argument(
        "--teacher-layer", type=Layer, help="layer that --teacher-store must hold; default: any"
    )
    parser.add_argument(
        "--init-from",
        metavar="FILE.pt",
        help="initial weights (CTC pretraining), relative to the folder that holds --exp-dir; an "
        "adapter that they lack is added",
    )
    parser.add_argument(
        "--init-lang-dir",
        metavar="DIR",
        help="lang folder of --init-from, if its tokens differ: outputs of common tokens are kept",
    )
    parser.add_argument(
        "--old-fbank-dir",
        metavar="DIR",
        help="features of the corpus of an earlier training, of which each epoch has a sample "
        "(--data.old_share) beside all of the new one",
    )
    parser.add_argument("--old-prefix", help="prefix of the cuts in --old-fbank-dir")
    parser.add_argument("--old-split", default="train", help="split of --old-fbank-dir")
    parser.add_argument(
        "--old-teacher-store", metavar="DIR", help="features of the teacher of the old text"
    )
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|none|FILE.pt",
        help="auto: from the newest readable checkpoint in --exp-dir, if there is one; none: begin "
        "anew in a folder without checkpoints; or from this checkpoint",
    )
    parser.add_class_arguments(TransferConfig, "transfer")
    parser.add_class_arguments(ModelConfig, "model", skip=DERIVED)
    parser.add_class_arguments(TrainingConfig, "training")
    parser.add_class_arguments(DataConfig, "data")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.training.setup import train

    train(args)
