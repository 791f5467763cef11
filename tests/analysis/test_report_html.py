"""Report of an experiment: what it shows of whatever the folder holds."""

import base64
import io
import re
import xml.dom.minidom
from html.parser import HTMLParser

import experiment
import pytest
import soundfile
from audio import write_part

from gmot.analysis.report_html import make_report
from gmot.bin.make_report import get_parser
from gmot.common import GmotError
from gmot.data.features import compute_fbank
from gmot.data.manifests import prepare_manifests
from gmot.evaluation.files import recogs_path, update_results, write_recogs
from gmot.evaluation.scoring import score, score_groups
from gmot.text.scoring_units import CER, WER

ANCHORS = {
    *("curves", "couplings", "error-rates", "worst-utterances", "configuration", "provenance")
}


class Page(HTMLParser):
    """Attributes, tags and text of a page; every element must be closed in order."""

    EMPTY = ("meta", "img", "br", "source")

    def __init__(self, text: str):
        super().__init__()
        self.found, self.open, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, tag, name):
        return [attrs[name] for found, attrs in self.found if found == tag and name in attrs]


def report(folder, *options) -> tuple[str, Page]:
    path = make_report(get_parser().parse_args(["--exp-dir", str(folder), *options]))
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def content(uri: str, kind: str) -> bytes:
    head, data = uri.split(",", 1)
    assert head == f"data:{kind};base64"
    return base64.b64decode(data)


@pytest.fixture
def decoded(tmp_path):
    """A decoded experiment, and the features and audio of its dev split."""
    write_part(tmp_path / "corpus" / "dev", [0.7, 1.0, 0.5])
    prepare_manifests(tmp_path / "corpus", "toy", ["dev"], tmp_path / "manifests")
    compute_fbank("toy", "dev", tmp_path / "manifests", tmp_path / "fbank")
    experiment.decode(tmp_path / "gm_ot")
    return tmp_path / "gm_ot"


def data_options(folder) -> list[str]:
    """Options of the audio of an experiment without ``config.json``."""
    return ["--fbank-dir", str(folder.parent / "fbank"), "--prefix", "toy"]


def test_everything(decoded):
    experiment.train(decoded)
    experiment.skip_updates(decoded, 3)
    text, page = report(decoded)
    assert set(page.values("h2", "id")) == ANCHORS
    assert [uri.removeprefix("#") for uri in page.values("a", "href")] == page.values("h2", "id")
    pictures = page.values("img", "src")
    charts = [uri for uri in pictures if uri.startswith("data:image/svg")]
    assert len(charts) == 11 and len(pictures) == len(charts) + 3  # couplings of three epochs
    for uri in (*charts, *page.values("source", "srcset")):
        xml.dom.minidom.parseString(content(uri, "image/svg+xml"))
    assert all(content(u, "image/png") for u in pictures if u not in charts)
    assert [alt for alt in page.values("img", "alt") if "epoch" in alt] == [
        f"couplings, epoch {n}, update {20 * n}" for n in (1, 2, 3)
    ]
    words = " ".join(page.text)
    assert "12.50" in words and "1 del" in words  # 2 errors in 16 characters
    assert re.search(r"skipped updates\s+3\b", words)
    assert "transport" in words and "b760410208" in words and "base_lr" in words
    assert len(page.values("audio", "src")) == 2  # found by the options of the training
    # Nothing is loaded from elsewhere.
    for name in ("src", "srcset", "href"):
        for tag, attrs in page.found:
            assert attrs.get(name, "#").startswith(("data:", "#")), tag
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.found}


def test_audio_and_alignment_of_the_worst(decoded):
    data = data_options(decoded)
    _, page = report(decoded, *data)
    flac = page.values("audio", "src")
    rates = [soundfile.read(io.BytesIO(content(uri, "audio/flac")))[1] for uri in flac]
    assert rates == [16000, 16000]  # one of the three utterances has no errors
    kinds = [k.split()[1] for k in page.values("span", "class") if k.startswith("pair ")]
    assert kinds[:3] == ["sub", "del", "ins"]  # legend
    # utt001 has the higher rate: 她/他; then utt000 without its fourth character.
    assert kinds[3:] == ["sub", *["cor"] * 5, *["cor"] * 2, "del", *["cor"] * 3] or kinds[3:] == [
        *["cor"] * 2, "del", *["cor"] * 3, "sub", *["cor"] * 5
    ]  # fmt: skip
    text, page = report(decoded, *data, "--audio-limit", "0.000001")
    assert not page.values("audio", "src") and "Without audio: 2 (larger than" in text
    text, page = report(decoded, *data, "--audio-total", "0.02")
    assert len(page.values("audio", "src")) == 1 and "Without audio: 1 (more than" in text


def test_lost_audio_is_counted_and_stops_nothing(decoded):
    data = data_options(decoded)
    (decoded.parent / "corpus/dev/wav/utt000.wav").unlink()
    text, page = report(decoded, *data)
    assert (
        len(page.values("audio", "src")) == 1 and "Without audio: 1 (audio file not found)" in text
    )
    (decoded.parent / "fbank/toy_cuts_dev.jsonl.gz").unlink()
    text, page = report(decoded, *data)
    assert not page.values("audio", "src") and "Without audio: 2 (cuts of" in text


def test_without_teacher_results_and_audio(tmp_path):
    experiment.train(tmp_path / "ctc", teacher=False)
    text, page = report(tmp_path / "ctc")
    assert set(page.values("h2", "id")) == ANCHORS - {"couplings", "worst-utterances"}
    assert "Not decoded yet" in text and "no teacher" in text


def test_results_alone(tmp_path):
    experiment.decode(tmp_path / "old")
    _, page = report(tmp_path / "old", "--split", "test", "--worst", "1")
    assert set(page.values("h2", "id")) == {"error-rates", "worst-utterances", "provenance"}
    assert page.text.count("utt001") + page.text.count("utt000") == 1


def test_metrics_and_groups_have_tables(tmp_path):
    """WER is the primary metric, of which the worst utterances are shown."""
    refs = {"u1": "the cat sat", "u2": "a dog", "u3": "<b> yes"}
    hyps = {"u1": "the cat", "u2": "a fog", "u3": "yes"}
    groups = {"u1": "adult", "u2": "<child>", "u3": "<child>"}
    scores = {}
    for metric in (WER, CER):
        result = score(refs, hyps, metric=metric)
        of_group = {g: s.record() for g, s in score_groups(result, groups).items()}
        scores[metric.name] = {**result.record(), "groups": of_group}
    key = {"split": "dev", "method": "1best", "epoch": 3, "avg": 1, "scores": scores}
    costs = dict.fromkeys(("rtf_encoder", "rtf_decoding", "peak_memory_mb"), 1.0)
    update_results(tmp_path / "results.json", [{**key, **costs, "device": "cpu"}])
    write_recogs(recogs_path(tmp_path, key), refs, hyps)
    text, page = report(tmp_path)
    titles = ["WER", "WER, &lt;child&gt;", "WER, adult", "CER", "CER, &lt;child&gt;", "CER, adult"]
    assert re.findall("<h3>([WC]ER.*?)</h3>", text) == titles
    words = " ".join(page.text)
    assert re.search(r"dev WER\s+42\.86 %", words) and "dev CER" in words
    assert "most WER errors" in words and "1 del in 3 words" in words


def test_constant_scalars_are_words(tmp_path):
    experiment.train(tmp_path, teacher=False)
    board = experiment.open_board(tmp_path / "tensorboard", 1000)
    for update in (1000, 1001):
        board.add_scalar("train/skipped", 0, update)
    board.close()
    text, page = report(tmp_path)
    assert "Constant: skipped updates 0." in text
    assert "skipped updates" not in page.values("img", "alt")


def test_names_are_escaped(tmp_path):
    experiment.train(tmp_path / "a<b>&c", last=1, teacher=False)
    text, page = report(tmp_path / "a<b>&c", "--output", str(tmp_path / "page.html"))
    assert "<title>a&lt;b&gt;&amp;c</title>" in text and "<exp>" not in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a<b>&c", "page.html"]


def test_wrong_folders_and_results(tmp_path, decoded):
    with pytest.raises(GmotError, match=r"neither event files .* nor results\.json.*--exp-dir"):
        report(tmp_path / "none")
    with pytest.raises(GmotError, match=r"no results of --split train .*found: dev by ctc"):
        report(decoded, "--split", "train")
    for recogs in decoded.glob("*/recogs-dev-*"):
        recogs.unlink()
    with pytest.raises(GmotError, match=r"recogs-dev.*local/decode\.py"):
        report(decoded)
