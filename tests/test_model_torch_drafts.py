"""Guesses from n-grams, and how many of them are made."""

import torch

from model.torch_drafts import Drafts, Pace


def test_drafts_prefer_the_longest_and_then_the_latest_match() -> None:
    drafts = Drafts(gram=2)
    drafts.follow([9, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2, 5, 9, 1, 2])
    assert drafts.guess(1) == [3]  # 9 1 2 matches three tokens, the others two
    drafts.follow([8, 1, 2, 4, 7, 1, 2, 5, 6, 1, 2])
    assert drafts.guess(3) == [5, 6, 1]
    assert drafts.guess(0) == []
    drafts.follow([1, 2, 3, 1, 2, 3, 1])
    assert drafts.guess(7) == [2, 3, 1, 2, 3, 1, 2]
    drafts.follow([1, 2])
    assert (len(drafts), drafts.guess(4)) == (2, [])


def test_shrinking_an_index_leaves_what_a_new_one_would_hold() -> None:
    drafts, random = Drafts(), torch.Generator().manual_seed(1)
    for _ in range(50):
        length = int(torch.randint(0, 40, (1,), generator=random))
        ids = torch.randint(0, 3, (length,), generator=random).tolist()
        drafts.follow(ids)
        fresh = Drafts()
        fresh.follow(ids)
        assert drafts.guess(8) == fresh.guess(8)


def test_the_pace_slows_where_guesses_fail_and_recovers() -> None:
    pace = Pace(8)
    assert pace.room() == 8
    for _ in range(2):
        pace.note(8, 0)
    pauses = [pace.room() for _ in range(5)]
    assert pauses == [0, 0, 0, 0, 2]
    pace.note(2, 2)
    pace.note(4, 4)
    assert pace.room() == 8
    assert Pace(0).room() == 0
