import pytest
from toy import compile_all

from gmot.decode import grammar


@pytest.fixture(autouse=True)
def kaldilm_in_this_process(monkeypatch):
    """Unit tests start no process (tests/known_issues/test_decoding.py has the real call)."""

    def convert(arpa, symbols, output):
        import kaldilm

        fst = kaldilm.arpa2fst(
            str(arpa), disambig_symbol=grammar.BACK_OFF, read_symbol_table=str(symbols)
        )
        output.write_text(fst, encoding="utf-8")

    monkeypatch.setattr(grammar, "_run_kaldilm", convert)


@pytest.fixture
def graphs(tmp_path):
    """Folder of the graphs of the toy language."""
    pytest.importorskip("k2")
    return compile_all(tmp_path / "graphs")
