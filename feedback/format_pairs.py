"""Formats for learning what is better: pairs after one prefix, single answers with a verdict, and rewards.

A pair never has two prompts. Where a person edited the agent's change, both changes answer the prompt that
`asked` makes of the run. Where tests decided, both answers followed the same request to the letter: one
stands in the accepted change, the other was run and failed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from feedback import columns
from feedback.candidate import Candidate
from feedback.format_base import GOOD, JUDGED, Context, Row, Table
from feedback.format_chat import begun, chat, plain_message_type, read_chat, trained_calls
from feedback.harvest import Call, Harvest
from memory.checks import Record
from memory.records import CheckRan, Completed, Message, Payload, Prompted, Searched, UserActed

ASK: Final = "The whole change, as a unified diff:"
SOURCES: Final = ("tests", "human", "survival")


class Pair(Record):
    """Two answers to one prompt, which is a chat or a text."""

    prompt: tuple[Message, ...] = ()
    text: str = ""
    chosen: str
    rejected: str
    source: str


class Judged(Record):
    """One answer to a prompt, and whether it was good."""

    prompt: tuple[Message, ...] = ()
    text: str = ""
    completion: str
    good: bool


class Rewarded(Record):
    """A prompt, and what the run that it was taken of was worth."""

    prompt: tuple[Message, ...]
    reward: float
    components: dict[str, float]


def asked(harvest: Harvest) -> tuple[Message, ...]:
    """The prompt whose answer is the agent's change as a whole.

    It is what the model saw last before the change, an answer that was begun for it left out, and the request
    for a diff. After a raw prompt that is one message: the task, the prompt, the request.
    """
    until = next((e.seq for e in harvest.events if _edits(e.payload)), len(harvest.events) + 1)
    seen = [call for call in harvest.calls if call.seq < until]
    if not seen or not seen[-1].messages:
        shown = [harvest.task.prompt, *(call.prompt for call in seen[-1:])]
        return (Message(role="user", content="\n\n".join([*shown, ASK])),)
    messages = seen[-1].messages
    head = messages[:-1] if begun(messages) else messages
    if head and head[-1].role == "user":
        return (*head[:-1], Message(role="user", content=f"{head[-1].content}\n\n{ASK}"))
    return (*head, Message(role="user", content=f"{harvest.task.prompt}\n\n{ASK}"))


def _edits(payload: Payload) -> bool:
    return isinstance(payload, UserActed) and payload.action == "edit-diff"


def failed(harvest: Harvest) -> frozenset[int]:
    """Event numbers of the candidates that were run and did not pass.

    Runs are not recorded with the candidate that they are of. They follow in the order of the answers to one
    request, so they are told apart only where as many were run as there are different answers.
    """
    found, answers, runs, over = set[int](), list[tuple[int, str]](), list[bool](), False
    for event in harvest.events:
        match event.payload:
            case Prompted():
                found |= _told_apart(answers, runs)
                answers, runs, over = [], [], False
            case Completed(completion=completion):
                answers.append((event.seq, completion.text))
            case CheckRan(purpose="candidate", result=result) if answers and not over:
                runs.append(result.passed)
            case Searched():
                over = True
    return frozenset(found | _told_apart(answers, runs))


def _told_apart(answers: Sequence[tuple[int, str]], runs: Sequence[bool]) -> set[int]:
    texts = [*dict.fromkeys(text for _, text in answers)]
    if len(texts) != len(runs):
        return set()
    passed = dict(zip(texts, runs, strict=True))
    return {seq for seq, text in answers if not passed[text]}


def _human(candidate: Candidate) -> Iterator[tuple[str, str]]:
    """What a person made of the agent's change, and that."""
    if candidate.harvest.edited is not None:
        own, theirs = candidate.harvest.edited
        if theirs:
            yield theirs, own


def _tested(candidate: Candidate, *, raw: bool) -> Iterator[tuple[Call, Call]]:
    """A call whose answer is in the accepted change, and each that failed after the same request."""
    trained = [*trained_calls(candidate)]
    lost = failed(candidate.harvest) - {call.seq for call in trained}  # a partial repair may have been kept
    good = dict[tuple[tuple[Message, ...], str], Call]()
    for call in trained:
        if raw == (not call.messages):
            good.setdefault((call.messages, call.prompt), call)
    told = set[tuple[int, str]]()
    for call in candidate.harvest.calls:
        winner = good.get((call.messages, call.prompt))
        if winner is None or call.seq not in lost or call.completion.text == winner.completion.text:
            continue
        if (winner.seq, call.completion.text) not in told:
            told.add((winner.seq, call.completion.text))
            yield winner, call


def _preference(candidate: Candidate, context: Context) -> Iterator[Row]:
    for theirs, own in _human(candidate):
        prompt = chat(asked(candidate.harvest))
        yield {
            "prompt": prompt,
            "chosen": _answer(theirs),
            "rejected": _answer(own),
            "continues": False,
            "preference_source": "human",
        }
    for winner, loser in _tested(candidate, raw=False):
        yield {
            "prompt": chat(winner.messages),
            "continues": begun(winner.messages),
            "chosen": _answer(winner.completion.text),
            "rejected": _answer(loser.completion.text),
            "preference_source": "tests",
            **columns.of_call(winner, candidate, context),
        }


def _infill_preference(candidate: Candidate, context: Context) -> Iterator[Row]:
    for winner, loser in _tested(candidate, raw=True):
        yield {
            "prompt": winner.prompt,
            "chosen": winner.completion.text,
            "rejected": loser.completion.text,
            "preference_source": "tests",
            **columns.of_call(winner, candidate, context),
        }


def _answer(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


def _judged_calls(candidate: Candidate, *, raw: bool) -> Iterator[tuple[Call, bool]]:
    """Targets of a good run, and candidates that failed in any.

    Of a run that came to nothing only its whole change is called bad: its single answers may be sound.
    """
    lost = failed(candidate.harvest)
    trained = {call.seq for call in trained_calls(candidate)}
    for call in candidate.harvest.calls:
        if raw != (not call.messages):
            continue
        if call.seq in trained and candidate.label.grade in GOOD:
            yield call, True
        elif call.seq in lost and call.seq not in trained:
            yield call, False


def _unpaired(candidate: Candidate, context: Context) -> Iterator[Row]:
    diff = candidate.harvest.diff
    if diff:
        good = candidate.label.grade in GOOD
        prompt = chat(asked(candidate.harvest))
        yield {"prompt": prompt, "completion": _answer(diff), "label": good, "continues": False}
    for call, good in _judged_calls(candidate, raw=False):
        yield {
            "prompt": chat(call.messages),
            "completion": _answer(call.completion.text),
            "label": good,
            "continues": begun(call.messages),
            **columns.of_call(call, candidate, context),
        }


def _infill_unpaired(candidate: Candidate, context: Context) -> Iterator[Row]:
    for call, good in _judged_calls(candidate, raw=True):
        row: Row = {"prompt": call.prompt, "completion": call.completion.text, "label": good}
        yield row | columns.of_call(call, candidate, context)


def _rewards(candidate: Candidate, _context: Context) -> Iterator[Row]:
    if candidate.label.reward is not None:
        parts: Mapping[str, float] = candidate.label.components
        row: Row = {"prompt": chat(asked(candidate.harvest))}
        yield row | {f"reward_{source}": parts.get(source) for source in SOURCES}


def _read_pairs(rows: Sequence[Row]) -> list[Pair]:
    return [
        Pair(
            **_prompt(row["prompt"]),
            chosen=_text(row["chosen"]),
            rejected=_text(row["rejected"]),
            source=row["preference_source"],
        )
        for row in rows
    ]


def _read_judged(rows: Sequence[Row]) -> list[Judged]:
    return [
        Judged(**_prompt(row["prompt"]), completion=_text(row["completion"]), good=row["label"])
        for row in rows
    ]


def _read_rewards(rows: Sequence[Row]) -> list[Rewarded]:
    return [
        Rewarded(
            prompt=read_chat(row["prompt"]),
            reward=row["reward"],
            components={s: row[f"reward_{s}"] for s in SOURCES if row[f"reward_{s}"] is not None},
        )
        for row in rows
    ]


def _prompt(value: Any) -> dict[str, Any]:
    return {"text": value} if isinstance(value, str) else {"prompt": read_chat(value)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value[0]["content"])


def _own(**kinds: str) -> list[tuple[str, Any]]:
    """Columns of chats, texts, truth values and numbers."""
    import pyarrow

    types = {
        "chat": pyarrow.list_(plain_message_type()),
        "text": pyarrow.string(),
        "bool": pyarrow.bool_(),
        "float": pyarrow.float64(),
    }
    return [(name, types[kind]) for name, kind in kinds.items()]


KTO: Final = {"label": "grade"}
"""`label` is a truth value for trainers of unpaired answers; the label of the run is `grade` there."""

PREFERENCE: Final = Table(
    "preference",
    lambda: _own(prompt="chat", chosen="chat", rejected="chat", continues="bool"),
    _preference,
    _read_pairs,
    GOOD,
)
INFILL_PREFERENCE: Final = Table(
    "infill_preference",
    lambda: _own(prompt="text", chosen="text", rejected="text"),
    _infill_preference,
    _read_pairs,
    GOOD,
)
UNPAIRED: Final = Table(
    "unpaired",
    lambda: _own(prompt="chat", completion="chat", label="bool", continues="bool"),
    _unpaired,
    _read_judged,
    JUDGED,
    renamed=KTO,
)
INFILL_UNPAIRED: Final = Table(
    "infill_unpaired",
    lambda: _own(prompt="text", completion="text", label="bool"),
    _infill_unpaired,
    _read_judged,
    JUDGED,
    renamed=KTO,
)
REWARDS: Final = Table(
    "rewards",
    lambda: _own(prompt="chat", **{f"reward_{source}": "float" for source in SOURCES}),
    _rewards,
    _read_rewards,
    JUDGED,
)
