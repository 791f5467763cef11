import itertools

import torch
from toy import best_path_score, collapse, log_probs

from gmot.decode.ctc_search import ctc_greedy_search


def test_equals_exhaustive_search():
    x = log_probs(6, 5, tokens=3)
    lens = torch.tensor([5, 4, 3, 2, 1, 5])
    for row, n, found in zip(x, lens.tolist(), ctc_greedy_search(x, lens)):
        paths = itertools.product(range(3), repeat=n)
        best = max(paths, key=lambda p: sum(float(row[t, k]) for t, k in enumerate(p)))
        assert found == collapse(best)
        assert best_path_score(row[:n], found) == max(
            best_path_score(row[:n], collapse(p)) for p in itertools.product(range(3), repeat=n)
        )


def test_by_hand():
    path = torch.tensor([[2, 2, 0, 2, 3, 3, 1, 0]])
    x = torch.nn.functional.one_hot(path, 4).float()
    assert ctc_greedy_search(x, torch.tensor([8])) == [[2, 2, 3, 1]]
    assert ctc_greedy_search(x, torch.tensor([3])) == [[2]]
    assert ctc_greedy_search(x, torch.tensor([0])) == [[]]


def test_does_not_depend_on_batch_mates():
    x = log_probs(4, 9)
    lens = torch.tensor([9, 2, 7, 5])
    alone = [ctc_greedy_search(x[i : i + 1, :n], lens[i : i + 1])[0] for i, n in enumerate(lens)]
    assert ctc_greedy_search(x, lens) == alone
