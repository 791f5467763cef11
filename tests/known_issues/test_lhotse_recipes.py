"""Known issues of lhotse's recipes: signatures and results that differ from recipe to recipe."""

import inspect

import lhotse.recipes
import pytest
import soundfile
from audio import tone
from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

from gmot.common import GmotError
from gmot.data.manifests import load_supervisions, prepare_manifests
from gmot.data.recipes import recipe_arguments

RECIPES = sorted(name[8:] for name in dir(lhotse.recipes) if name.startswith("prepare_"))


def test_there_are_recipes_to_examine():
    assert len(RECIPES) > 80 and {"commonvoice", "kespeech", "gale_mandarin"} <= set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gets_its_arguments_or_one_line(recipe):
    """B29, lhotse's kespeech, commonvoice, gigaspeech, gale_mandarin: other signatures."""
    prepare = getattr(lhotse.recipes, f"prepare_{recipe}")
    signature = inspect.signature(prepare)
    required = [n for n, p in signature.parameters.items() if p.default is p.empty]
    options = {}
    try:
        arguments = recipe_arguments(recipe, prepare, "corpus", "made", 3, options)
    except GmotError as error:
        # What lacks is named, and giving it is enough.
        lacking = [name for name in required if f"{name}=..." in str(error)]
        assert lacking and "corpus_dir" not in lacking and "output_dir" not in lacking
        options = dict.fromkeys(lacking, "given")
        arguments = recipe_arguments(recipe, prepare, "corpus", "made", 3, options)
    signature.bind(**arguments)
    assert set(required) <= arguments.keys()
    given = [name for name, value in arguments.items() if value in ("corpus", ["corpus"])]
    assert len(given) == 1, "the corpus is one argument"
    if "corpus_dir" in signature.parameters:
        assert given == ["corpus_dir"]
    if "num_jobs" in signature.parameters:
        assert arguments["num_jobs"] == 3
    assert ("output_dir" in arguments) == ("output_dir" in required)


def test_unknown_arguments_are_named(tmp_path):
    with pytest.raises(GmotError, match="langs.*'commonvoice'.*languages"):
        prepare_manifests(
            tmp_path, "toy", ["train"], tmp_path / "m", "commonvoice", recipe_options={"langs": "x"}
        )


@pytest.fixture
def recording(tmp_path):
    """Make a recording; ``recording(key, channels)``."""

    def make(key, channels=1):
        import numpy as np

        path = tmp_path / "corpus" / f"{key}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.stack([tone(1.0)] * channels, axis=1), 16000)
        return Recording.from_file(path, recording_id=key)

    return make


def manifests(*recordings, channels=(0,)):
    segments = [
        SupervisionSegment(
            id=f"{r.id}-{channel}", recording_id=r.id, start=0, duration=1.0, channel=channel,
            text="今天",
        )
        for r in recordings
        for channel in channels
    ]  # fmt: skip
    return {
        "recordings": RecordingSet.from_recordings(recordings),
        "supervisions": SupervisionSet.from_segments(segments),
    }


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Prepare by a recipe of one's own, put among lhotse's."""
    (tmp_path / "corpus").mkdir(exist_ok=True)

    def prepare(function, splits=("train",), **options):
        monkeypatch.setattr(lhotse.recipes, "prepare_own", function, raising=False)
        return prepare_manifests(
            tmp_path / "corpus", "toy", splits, tmp_path / "m", "own", recipe_options=options
        )

    return prepare


def test_output_dir_is_given_and_holds_nothing_of_an_earlier_run(recipe, recording, tmp_path):
    """B29: a recipe takes manifests that it finds in output_dir for those of this corpus."""
    seen = []

    def prepare_own(corpus_dir, output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        seen.append(list(output_dir.iterdir()))
        (output_dir / "own_recordings_train.jsonl.gz").write_text("old")
        return {"train": manifests(recording("a"))}

    recipe(prepare_own)
    recipe(prepare_own)
    assert seen == [[], []]
    assert load_supervisions(tmp_path / "m", "toy", "train") == [("a-0", "今天")]


def test_a_level_of_languages_is_taken_where_there_is_one(recipe, recording, tmp_path):
    """B29, commonvoice, fleurs, mls, mtedx: language, then split."""

    def prepare_own(corpus_dir, output_dir, languages="auto"):
        wanted = ["zh-CN", "en"] if languages == "auto" else languages
        return {key: {"train": manifests(recording(key))} for key in wanted}

    with pytest.raises(GmotError, match="'train'.*zh-CN, en.*languages="):
        recipe(prepare_own)
    recipe(prepare_own, languages=["zh-CN"])
    assert load_supervisions(tmp_path / "m", "toy", "train") == [("zh-CN-0", "今天")]


@pytest.mark.parametrize("pair", [False, True])
def test_a_corpus_without_splits_is_one_split(recipe, recording, tmp_path, pair):
    """B29, ljspeech, daily_talk: recordings and supervisions without splits."""

    def prepare_own(corpus_dir):
        found = manifests(recording("a"))
        return tuple(found.values()) if pair else found

    recipe(prepare_own)
    assert load_supervisions(tmp_path / "m", "toy", "train") == [("a-0", "今天")]
    with pytest.raises(GmotError, match="'own'.* 2 "):
        recipe(prepare_own, splits=("train", "dev"))


def test_other_results_are_one_line(recipe, recording):
    with pytest.raises(GmotError, match="'own'.*no manifests"):
        recipe(lambda corpus_dir: None)
    with pytest.raises(GmotError, match="'train'.*recordings and supervisions"):
        recipe(lambda corpus_dir: {"train": {"cuts": []}})


@pytest.mark.parametrize("error", [TypeError, AttributeError, RuntimeError, KeyError, Exception])
def test_whatever_a_recipe_raises_is_one_line(recipe, error):
    """B29: exceptions of parsers of many kinds."""

    def prepare_own(corpus_dir):
        raise error("line 7")

    with pytest.raises(GmotError, match=f"'own'.*{error.__name__}.*line 7"):
        recipe(prepare_own)


def test_a_package_that_a_recipe_needs_is_named(recipe):
    """B29, gigaspeech: optional packages."""

    def prepare_own(corpus_dir):
        raise ImportError("please install: pip install speechcolab")

    with pytest.raises(GmotError, match="'own'.*pip install speechcolab"):
        recipe(prepare_own)


def test_channels_that_a_recipe_names_are_taken(recipe, recording):
    """B02 and B29, eval2000, fisher_english: a speaker on each channel."""
    (split,) = recipe(lambda corpus_dir: {"train": manifests(recording("a", 2), channels=(0, 1))})
    assert {key: s.channel for key, s in split.supervisions.items()} == {"a-0": 0, "a-1": 1}
    mixed = {
        "recordings": RecordingSet.from_recordings([recording("a"), recording("b", 2)]),
        "supervisions": SupervisionSet.from_segments(
            SupervisionSegment(id=key, recording_id=key, start=0, duration=1.0, text="今")
            for key in "ab"
        ),
    }
    (split,) = recipe(lambda corpus_dir: {"train": mixed})
    assert list(split.supervisions) == ["a"]
    assert "2 channels" in dict(split.excluded)["b"]


@pytest.mark.integration
def test_the_script_takes_arguments_of_a_recipe(tmp_path, run_script):
    """B29: commonvoice by its own recipe, a language of two."""
    for language in ("zh-CN", "fr"):
        clips = tmp_path / "corpus" / language / "clips"
        clips.mkdir(parents=True)
        soundfile.write(clips / f"{language}.flac", tone(1.0), 16000)
        header = "client_id\tpath\tsentence\tage\tgender\taccents\tvariant\n"
        row = f"me\t{language}.flac\t今天天气\t\t\t\t\n"
        (clips.parent / "train.tsv").write_text(header + row, encoding="utf-8")
    command = ["--prefix", "cv", "--corpus-dir", "corpus", "--splits", "train"]
    command += ["--manifest-dir", "m", "--recipe", "commonvoice", "--recipe-options"]

    def run(*options):
        return run_script("prepare_manifests", *command, *options, cwd=tmp_path)

    result = run("languages=zh-CN", "splits=[train]")
    assert result.returncode == 0, result.stderr
    texts = load_supervisions(tmp_path / "m", "cv", "train")
    assert len(texts) == 1 and "今天天气" in texts[0][1]
    assert "Language: " not in result.stderr  # what lhotse logs of its progress
    result = run("languages")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "--recipe-options languages" in result.stderr and "NAME=VALUE" in result.stderr
