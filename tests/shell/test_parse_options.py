"""shared/parse_options.sh: accepted and refused arguments, and --help."""

import pytest

SCRIPT = """
set -eo pipefail
. "$root/shared/parse_options.sh"
usage="Makes things."
option stop_stage 7 "last stage"
option parts "train dev" "parts of the corpus"
option dev false "with tools"
config=(one "two three")
option_list config "experiments"
parts="train test"     # a changed default
parse_options "$@"
printf '%s|' "$stop_stage" "$parts" "$dev" "${config[@]}" -- "${dotted[@]}"
"""
CONFIG = "one|two three|--|"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], f"7|train test|false|{CONFIG}"),
        (["--stop-stage", "3"], f"3|train test|false|{CONFIG}"),
        (["--stop_stage", "3"], f"3|train test|false|{CONFIG}"),
        (["--stop-stage=3", "--dev"], f"3|train test|true|{CONFIG}"),
        (["--dev", "--parts", "a b"], f"7|a b|true|{CONFIG}"),
        (["--dev", "true", "--parts=a=b"], f"7|a=b|true|{CONFIG}"),
        (["--dev=false", "--parts", "maybe"], f"7|maybe|false|{CONFIG}"),
        (["--parts", "x", "--dev", "false"], f"7|x|false|{CONFIG}"),
        (["--parts", ""], f"7||false|{CONFIG}"),
        (["--stop-stage", "-1"], f"-1|train test|false|{CONFIG}"),
        (["--parts=--epoch 3"], f"7|--epoch 3|false|{CONFIG}"),
        (["--parts", "a", "--parts", "b.c"], f"7|b.c|false|{CONFIG}"),
        (["--config", "a", "--dev", "--config=b c"], "7|train test|true|a|b c|--|"),
        # Nothing in a value is evaluated.
        (["--parts", "$(echo x) `echo y` ; * \\"], f"7|$(echo x) `echo y` ; * \\|false|{CONFIG}"),
        (["--config", "$(echo x) `y` ; *"], "7|train test|false|$(echo x) `y` ; *|--|"),
    ],
)
def test_values_reach_the_variables(bash, arguments, expected):
    result = bash(*arguments, script=SCRIPT)
    assert result.stdout == expected, result.stderr
    assert result.returncode == 0


def test_dotted_options_are_collected_unchanged(bash):
    script = "dotted_options=true\n" + SCRIPT
    words = ["--a.b_c", "0.03", "--a.l", "1", "x y", "-2", "--d-e.f=g.h"]
    result = bash("--dev", *words, "--stop-stage=2.5", script=script)
    assert result.stdout == "2.5|train test|true|one|two three|--|" + "|".join(words) + "|"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--stopstage", "3"], "'--stopstage'"),
        (["--PATH=/tmp"], "'--PATH'"),
        (["--"], "'--'"),
        (["stray"], "'stray'"),
        (["--stop-stage"], "'--stop-stage'"),
        (["--stop-stage", "--parts", "x"], "'--stop-stage'"),
        (["--stop stage", "x"], "'--stop stage'"),
        (["--a.b", "x"], "'--a.b'"),  # where no dotted options are taken
        (["--dev", "no"], "'no'"),
        (["--dev=yes"], "'yes'"),
        (["--dev=true; false"], "'true; false'"),
        (["--dev="], "''"),
    ],
)
def test_mistakes_are_refused_with_the_known_options(bash, arguments, named):
    result = bash(*arguments, script=SCRIPT)
    assert result.returncode == 2
    assert result.stdout == ""
    assert named in result.stderr
    assert "--stop-stage --parts --dev --config" in result.stderr


def test_help_shows_usage_and_the_defaults_in_force(bash):
    result = bash("--help", script=SCRIPT)
    assert result.returncode == 0
    for fact in ("Makes things.", "--stop-stage", "last stage", "train test", "one two three"):
        assert fact in result.stdout
    assert "train dev" not in result.stdout
