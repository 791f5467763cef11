"""shared/parse_options.sh: what is accepted, what is refused, and the help."""

import pytest

SCRIPT = """
set -euo pipefail
. "$root/shared/parse_options.sh"
usage="Makes things."
option stop_stage 7 "last stage"
option parts "train dev" "parts of the corpus"
flag dev "with tools"
option keep true "what was there"
parts="train test"     # as a corpus would change a default
parse_options "$@"
echo "$stop_stage|$parts|$dev"
if ! $keep; then echo "kept nothing"; fi
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "7|train test|false"),
        (["--stop-stage", "3"], "3|train test|false"),
        (["--stop_stage", "3"], "3|train test|false"),
        (["--stop-stage=3", "--dev"], "3|train test|true"),
        (["--dev", "--parts", "a b"], "7|a b|true"),
        (["--parts=a=b"], "7|a=b|false"),
        (["--parts", ""], "7||false"),
        (["--stop-stage", "-1"], "-1|train test|false"),
        # A value may look like another program's option.
        (["--parts", "--epoch 3"], "7|--epoch 3|false"),
        (["--parts", "a", "--parts", "b"], "7|b|false"),
        # Nothing in a value is evaluated.
        (["--parts", "$(echo x) `echo y` ; * \\"], "7|$(echo x) `echo y` ; * \\|false"),
    ],
)
def test_values_reach_the_variables(bash, arguments, expected):
    result = bash(*arguments, script=SCRIPT)
    assert result.stdout.strip() == expected, result.stderr
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--stopstage", "3"], "unknown option '--stopstage'"),
        (["--PATH=/tmp"], "unknown option '--PATH'"),
        (["--"], "unexpected argument '--'"),
        (["stray"], "unexpected argument 'stray'"),
        (["--stop-stage"], "'--stop-stage' needs a value"),
        (["--stop-stage", "--parts", "x"], "'--stop-stage' needs a value"),
        (["--keep", "no"], "option '--keep' is true or false, not 'no'"),
        (["--keep", "false; true"], "option '--keep' is true or false, not 'false; true'"),
        (["--keep", "a:true"], "option '--keep' is true or false, not 'a:true'"),
        (["--keep="], "option '--keep' is true or false, not ''"),
        (["--dev=yes"], "option '--dev' is true or false, not 'yes'"),
    ],
)
def test_mistakes_are_refused_with_the_known_options(bash, arguments, complaint):
    result = bash(*arguments, script=SCRIPT)
    assert result.returncode == 2
    assert result.stdout == ""
    assert complaint in result.stderr
    assert "--stop-stage --parts --dev" in result.stderr


def test_booleans_take_true_and_false(bash):
    result = bash("--keep", "false", "--dev=true", script=SCRIPT)
    assert result.stdout == "7|train test|true\nkept nothing\n", result.stderr
    result = bash("--keep=true", "--dev=false", "--parts", "maybe", script=SCRIPT)
    assert result.stdout == "7|maybe|false\n", result.stderr


def test_help_shows_usage_and_the_defaults_in_force(bash):
    result = bash("--help", script=SCRIPT)
    assert result.returncode == 0
    assert "Makes things." in result.stdout
    assert "--stop-stage VALUE\n      last stage (default: 7)" in result.stdout
    assert "(default: train test)" in result.stdout
    assert "--dev\n" in result.stdout
