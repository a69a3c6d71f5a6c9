"""Near-duplicates: MinHash misses none that brute force finds, and a row goes only for one that stays."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from feedback.candidate import Candidate, Grade, Label
from feedback.harvest import Harvest
from feedback.near import EXACT, MISSED, NEAR, bands, best_first, compared, drop_near, duplicates
from feedback.shingles import jaccard, shingles, tokens, words
from tests.harvest_kit import BEGIN, DIFF, auto_accepted, failed, solved_by_hand


def numbered(count: int, *, first: int = 0, tail: int = 0) -> str:
    """So many different words, all other texts' too: the first ones and the last ones may be others."""
    told = [f"word{at}" for at in range(count)]
    told[:first] = [f"first{at}" for at in range(first)]
    told[count - tail :] = [f"last{at}" for at in range(tail)]
    return " ".join(told)


def exact(one: str, other: str, n: int = 5) -> float:
    """Jaccard of the sets of word n-grams, computed without a hash."""
    a, b = (
        {tuple(w[i : i + n]) for i in range(max(1, len(w) - n + 1))} for w in (one.split(), other.split())
    )
    return len(a & b) / len(a | b)


def candidate(run: Harvest, grade: Grade = "gold") -> Candidate:
    return Candidate(run, Label(grade=grade, why="told by the test"))


@pytest.mark.parametrize(
    ("count", "replaced", "similarity", "goes"),
    [(104, 11, 89 / 111, True), (104, 12, 88 / 112, False), (94, 10, 0.8, True), (104, 0, 1.0, True)],
)
def test_the_exact_similarity_decides(count: int, replaced: int, similarity: float, goes: bool) -> None:
    one, other = numbered(count), numbered(count, tail=replaced)
    assert exact(one, other) == similarity
    assert duplicates([one, other]) == ({1: 0} if goes else {})


def test_the_threshold_and_the_run_of_words_can_be_told() -> None:
    texts = [numbered(104), numbered(104, tail=20)]
    assert exact(*texts) == 80 / 120
    assert (duplicates(texts), duplicates(texts, threshold=0.66)) == ({}, {1: 0})
    assert exact(*texts, n=1) == 84 / 124
    assert duplicates(texts, threshold=0.67, n=1) == {1: 0}
    assert duplicates(texts, threshold=0.67) == {}


def test_a_chain_is_not_closed() -> None:
    a, b, c = numbered(104), numbered(104, tail=11), numbered(104, first=11, tail=11)
    assert min(exact(a, b), exact(b, c)) >= 0.8 > exact(a, c)
    assert duplicates([a, b, c]) == {1: 0}, "c is like b only, and b is gone"
    assert duplicates([a, b, c], [1, 0, 2]) == {0: 1, 2: 1}, "b comes first, and both are like it"


def test_a_row_goes_for_the_most_similar_that_stays() -> None:
    one, other = numbered(104, tail=9), numbered(104, first=6)
    row = numbered(104, first=1)
    assert exact(one, other) < 0.8 <= exact(one, row) < exact(other, row)
    assert duplicates([one, other, row]) == {2: 1}


def test_the_order_says_which_one_stays() -> None:
    texts = [numbered(50), "something else that nobody else would ever write", numbered(50)]
    assert (duplicates(texts), duplicates(texts, [2, 1, 0])) == ({2: 0}, {0: 2})


def planted(dice: random.Random) -> list[str]:
    """Texts and edited copies, copies of copies too."""
    vocabulary = [f"w{at}" for at in range(3000)]
    found = [" ".join(dice.choices(vocabulary, k=dice.randint(30, 150))) for _ in range(60)]
    for _ in range(240):
        told = dice.choice(found).split()
        for _ in range(dice.choice((0, 1, 1, 2, 3, 6))):
            told[dice.randrange(len(told))] = dice.choice(vocabulary)
        found.append(" ".join(told))
    return found


def test_brute_force_finds_the_same() -> None:
    texts = planted(random.Random(7))
    stay, brute = list[int](), list[int]()
    for row, text in enumerate(texts):
        (brute if any(exact(text, texts[other]) >= 0.8 for other in stay) else stay).append(row)
    like = duplicates(texts)
    assert len(brute) > 60
    assert sorted(like) == brute
    assert not like.keys() & set(like.values())
    assert all(exact(texts[row], texts[kept]) >= 0.8 for row, kept in like.items())


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.85, 0.95, 1.0])
def test_the_bands_see_pairs_at_the_threshold(threshold: float) -> None:
    count, rows = bands(threshold)
    assert count * rows <= 128
    assert (1 - threshold**rows) ** count <= MISSED
    longer = rows + 1
    assert rows == 64 or (1 - threshold**longer) ** (128 // longer) > MISSED, "the longest that do"


def test_hashes_are_the_same_everywhere() -> None:
    assert shingles(words("Return the LAST\titem, of."), 5).tolist() == [18148006478264353998]


def test_few_words_or_none() -> None:
    assert duplicates([]) == {}
    assert duplicates(["", "", " \n", "?!", "?!"]) == {}, "without a word there is nothing to compare"
    assert duplicates(["fix it", "Fix  it!", "fix that", "it fix"]) == {1: 0}
    assert jaccard(shingles([], 5), shingles([], 5)) == 0.0


def test_scripts_without_spaces_have_words_too() -> None:
    said = "当列表为空时函数应该返回零而不是引发异常请修复这个错误并添加一个测试用例来验证行为是否正确无误"
    assert duplicates([said, said[:-1], said[::-1]]) == {1: 0}


def test_signs_count_where_tokens_are_compared() -> None:
    loop = " ".join(f"while a{at} < b{at}: pass" for at in range(3))
    texts = [loop, loop.replace("<", ">")]
    assert duplicates(texts) == {1: 0}
    assert duplicates(texts, tokenise=tokens) == {}


def test_lone_surrogates_and_null_bytes_do_no_harm() -> None:
    assert duplicates(["\ud800 one\x00two", "one \udfff two"]) == {1: 0}


def made(maker: Callable[..., Harvest], grade: Grade, run_id: str, days: int) -> Candidate:
    return candidate(maker(run_id=run_id, at=BEGIN + timedelta(days=days)), grade)


def test_the_best_run_stays() -> None:
    silver, gold = made(solved_by_hand, "silver", "a", 0), made(auto_accepted, "gold", "b", 1)
    assert drop_near([silver, gold]) == {"a": EXACT}, "the grade outweighs age and person"
    nobody, person = made(auto_accepted, "gold", "a", 0), made(solved_by_hand, "gold", "b", 1)
    assert drop_near([nobody, person]) == {"a": EXACT}, "a person's word outweighs age"
    old, new = made(failed, "none", "a", 0), made(failed, "none", "b", 1)
    assert drop_near([new, old]) == drop_near([old, new]) == {"b": EXACT}
    assert drop_near([old, candidate(shorter(new.harvest), "none")]) == {"a": EXACT}, "so do fewer calls"


def shorter(run: Harvest) -> Harvest:
    """The run without its last call of the model."""
    last = run.calls[-1].seq
    events = tuple(event for event in run.events if event.seq != last)
    return Harvest(run.run_id, run.session_id, events, run.patches, run.survivals)


def test_the_order_is_total() -> None:
    runs = [candidate(solved_by_hand(run_id=name)) for name in ("c", "a", "b")]
    assert [runs[row].id for row in best_first(runs)] == ["a", "b", "c"]


def told_apart(prompts: Sequence[str], diffs: Sequence[str]) -> dict[str, str]:
    made = [
        candidate(solved_by_hand(prompt=prompt, diff=diff, run_id=f"run{row}"))
        for row, (prompt, diff) in enumerate(zip(prompts, diffs, strict=True))
    ]
    return drop_near(made)


ASKED = """The function gcd recurses for ever when its second argument is larger than the first one.
Call it with four and six to see a RecursionError. It should return two, as tests/test_gcd.py says.
Do not change the signature and keep the recursion, since other modules import it under its present name."""


def test_near_and_exact_are_told_apart() -> None:
    moved = DIFF.replace("@@ -2,4 +2,5 @@", "@@ -12,4 +12,5 @@").replace(
        "1111111..2222222", "3333333..4444444"
    )
    assert told_apart([ASKED, ASKED], [DIFF, moved]) == {"run1": EXACT}, (
        "the place in the file is no difference"
    )
    assert told_apart([ASKED, ASKED + " Please."], [DIFF, DIFF]) == {"run1": NEAR}


def test_other_tasks_and_other_changes_stay() -> None:
    other = DIFF.replace("gcd", "slugify").replace("rest = a % b", "words = re.split(r'\\W+', title.lower())")
    assert told_apart([ASKED, "make slugs of titles"], [DIFF, other]) == {}
    assert told_apart(["mend it", "mend it"], [DIFF, other]) == {}


def test_the_surroundings_of_a_change_are_not_compared() -> None:
    run = candidate(solved_by_hand(prompt="mend it"))
    text = compared(run)
    assert text.splitlines()[:2] == ["mend it", "gcd.py"]
    assert "return gcd(a % b, b)" in text
    assert "if b == 0" not in text
    assert "Call one tool" not in text
