"""Two more small repositories with twelve defects each, unseen by the memory, for memory_stream."""

from typing import Final

from benchmarks.stream_tasks import Defect, Project

GAZETTE: Final = {
    "README.md": (
        "# Gazette\n\n"
        "Reads entries from feeds, sorts and merges them, and writes newsletters, Atom and OPML.\n\n"
        "    from gazette import digest, feeds\n\n"
        '    print(digest.page(feeds.newest(entries, 10), {"title": "This week"}))\n\n'
        "The address of the site, to which relative links belong, comes from the environment.\n"
    ),
    "Makefile": (
        "export GAZETTE_SITE = https://gazette.example/\n\n"
        ".PHONY: check clean\n\n"
        "check:\n\tpython3 -m pytest -q -o python_files='check_*.py' qa\n\n"
        "clean:\n\trm -rf .pytest_cache build\n"
    ),
    "qa/check_markup.py": (
        "from gazette import markup\n\n\n"
        "def test_text():\n"
        '    assert markup.text("a < b & c") == "a &lt; b &amp; c"\n\n\n'
        "def test_absolute_keeps_full_links():\n"
        '    assert markup.absolute("https://b.example/1") == "https://b.example/1"\n'
    ),
    "gazette/__init__.py": '''"""Gazette: from feeds to newsletters."""

import os

SITE = os.environ["GAZETTE_SITE"]
''',
    "gazette/stamps.py": '''"""Moments of time, as feeds write them."""

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


def utc(moment):
    """The moment in UTC; one that has no offset is taken to be in UTC already."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc)


def parse(text):
    """The moment that a feed gives, in ISO 8601 or as in the headers of mail."""
    text = text.strip()
    if "," in text:
        return parsedate_to_datetime(text)
    return datetime.fromisoformat(text)


def rfc3339(moment):
    """The moment as Atom wants it, for example 2024-05-01T06:30:00Z."""
    return f"{utc(moment):%Y-%m-%dT%H:%M:%SZ}"
''',
    "gazette/markup.py": '''"""Pieces of XML and HTML."""

from urllib.parse import urljoin

from gazette import SITE


def text(value):
    """The value as text between two tags."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def attribute(value):
    """The value as it stands between the double quotes of an attribute."""
    return text(value).replace('"', "&quot;")


def element(name, value):
    """An element that holds nothing but text."""
    return f"<{name}>{text(value)}</{name}>"


def absolute(link):
    """The link with the address of the site, if it is a relative one."""
    return urljoin(SITE, link)
''',
    "gazette/entries.py": '''"""Entries of feeds."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from gazette import markup, stamps


@dataclass
class Entry:
    """An entry as it was read from a feed."""

    title: str
    link: str
    published: datetime
    summary: str = ""
    tags: list[str] = field(default_factory=list)


def resolved(entry):
    """A copy of the entry with a full link."""
    return replace(entry, link=markup.absolute(entry.link))


def age_hours(entry, now):
    """Hours that have passed since the entry was published."""
    return (stamps.utc(now) - stamps.utc(entry.published)).total_seconds() / 3600


def with_tag(entry, tag):
    """A copy of the entry that has one more tag."""
    return replace(entry, tags=[*entry.tags, tag])


def teaser(entry, limit):
    """The summary in at most `limit` characters; an ellipsis stands for what was cut off."""
    words = " ".join(entry.summary.split())
    if len(words) <= limit:
        return words
    return words[: limit - 1].rstrip() + "…"
''',
    "gazette/feeds.py": '''"""Lists of entries, of one feed or of several."""

from gazette import stamps


def newest(entries, count):
    """The newest entries, the newest one first."""
    entries = sorted(entries, key=lambda entry: stamps.utc(entry.published), reverse=True)
    return entries[:count]


def since(entries, moment):
    """The entries published at the moment or after it, in the order given."""
    moment = stamps.utc(moment)
    return [entry for entry in entries if stamps.utc(entry.published) >= moment]


def merge(entries, more):
    """The entries, followed by those of `more` whose links are new."""
    found = {entry.link: entry for entry in entries}
    for entry in more:
        found.setdefault(entry.link, entry)
    return list(found.values())


def by_day(entries):
    """The entries under the days on which they were published, by the calendar of UTC."""
    days = {}
    for entry in entries:
        day = stamps.utc(entry.published).date()
        days.setdefault(day, []).append(entry)
    return days
''',
    "gazette/digest.py": '''"""Newsletters in HTML, and the mails that carry them."""

from gazette import markup

DEFAULTS = {"title": "Digest", "language": "en", "width": 60}


def settings(given):
    """The settings given, with the defaults for all others."""
    chosen = dict(DEFAULTS)
    chosen.update(given)
    return chosen


def anchor(entry):
    """A link to the entry under its title."""
    return f'<a href="{markup.attribute(entry.link)}">{markup.text(entry.title)}</a>'


def page(entries, given):
    """A whole newsletter."""
    title = markup.element("h1", settings(given)["title"])
    rows = [markup.element("li", entry.summary) + anchor(entry) for entry in entries]
    return "\\n".join([title, "<ul>", *rows, "</ul>"])


def subject(entries, width):
    """The first title and how many entries follow, in at most `width` characters."""
    rest = f" (+{len(entries) - 1})" if len(entries) > 1 else ""
    room = width - len(rest)
    title = entries[0].title
    if len(title) > room:
        title = title[: room - 1] + "…"
    return title + rest
''',
    "gazette/writers.py": '''"""Atom and OPML."""

from gazette import markup, stamps


def category(tag):
    """A tag of an entry in Atom."""
    return f'<category term="{markup.attribute(tag)}"/>'


def atom_entry(entry):
    """An entry in Atom."""
    parts = [
        markup.element("title", entry.title),
        markup.element("id", entry.link),
        markup.element("updated", stamps.rfc3339(entry.published)),
        *(category(tag) for tag in entry.tags),
    ]
    return "<entry>" + "".join(parts) + "</entry>"


def outline(title, url):
    """A feed in a list of subscriptions."""
    name, address = markup.attribute(title), markup.attribute(url)
    return f'<outline type="rss" text="{name}" xmlUrl="{address}"/>'
''',
}

ROTA: Final = {
    "README.md": (
        "# Rota\n\n"
        "Plans of shifts for small teams. Times of day are minutes since midnight, days of a plan are\n"
        "counted from 0.\n\n"
        "## Settings\n\n"
        "`ROTA_REGION` is `eu` or `us` and tells on which day weeks begin.\n\n"
        "## Development\n\n"
        "What a plan has to do is told by scenarios, one file for each:\n\n"
        "    python3 -m unittest discover -s scenarios -p '*_scenario.py'\n\n"
        "Nothing but the standard library is needed.\n"
    ),
    "scenarios/parse_scenario.py": (
        "import unittest\n\n"
        "from rota import clock\n\n\n"
        "class ParseScenario(unittest.TestCase):\n"
        "    def test_time_of_day(self):\n"
        '        self.assertEqual(clock.parse("7:30"), 450)\n\n'
        "    def test_full_hour(self):\n"
        '        self.assertEqual(clock.parse("16"), 960)\n'
    ),
    "rota/__init__.py": '''"""Rota: who works when."""

import os

FIRST_DAY = {"eu": 0, "us": 6}[os.environ["ROTA_REGION"]]
''',
    "rota/units.py": '''"""Lengths of time, in minutes."""

HOUR = 60
DAY = 24 * HOUR
WEEK = 7 * DAY
''',
    "rota/clock.py": '''"""Times of day and lengths of time, and how they are written."""

from rota import units


def parse(text):
    """The time of day that somebody wrote, such as 7:30 or 16."""
    hours, _, minutes = text.partition(":")
    return int(hours) * units.HOUR + int(minutes or 0)


def show(minute):
    """A time of day, such as 07:30."""
    hours, minutes = divmod(minute % units.DAY, units.HOUR)
    return f"{hours:02}:{minutes:02}"


def show_length(minutes):
    """A length of time in hours and minutes, such as 41:15."""
    hours, minutes = divmod(minutes, units.HOUR)
    return f"{hours}:{minutes:02}"


def later(minute, length):
    """The time of day that it is some minutes later."""
    return (minute + length) % units.DAY
''',
    "rota/shift.py": '''"""Shifts."""

from dataclasses import dataclass

from rota import units


@dataclass(frozen=True)
class Shift:
    """Somebody's shift on a day of the plan; it may end on the next day."""

    person: str
    day: int
    start: int
    end: int
    cancelled: bool = False


def length(shift):
    """Minutes from the start of the shift to its end."""
    return (shift.end - shift.start) % units.DAY


def span(shift):
    """Start and end of the shift, in minutes since the plan began."""
    begin = shift.day * units.DAY + shift.start
    days = 1 if shift.end < shift.start else 0
    return begin, (shift.day + days) * units.DAY + shift.end


def is_running(shift, minute):
    """True if the shift runs at a time of day; at its end it does not run any more."""
    if shift.end < shift.start:
        return minute >= shift.start or minute < shift.end
    return shift.start <= minute < shift.end


def overlaps(one, other):
    """True if there is a time at which both shifts run."""
    one_begin, one_end = span(one)
    other_begin, other_end = span(other)
    return one_begin < other_end and other_begin < one_end
''',
    "rota/plan.py": '''"""Plans, which are lists of shifts."""

from rota.shift import length, span


def worked(plan, person):
    """Minutes that a person works in all shifts of the plan that take place."""
    total = 0
    for shift in plan:
        if shift.person != person:
            continue
        if shift.cancelled:
            continue
        total += length(shift)
    return total


def people_on(plan, day):
    """Names of those who come on a day, in the order of the alphabet."""
    return sorted({shift.person for shift in plan if shift.day == day and not shift.cancelled})


def gaps(plan):
    """Starts and ends of the times, after the first shift began, at which nobody works."""
    spans = sorted(span(shift) for shift in plan if not shift.cancelled)
    found = []
    reached = spans[0][0] if spans else 0
    for begin, end in spans:
        if begin > reached:
            found.append((reached, begin))
        reached = max(reached, end)
    return found
''',
    "rota/rules.py": '''"""What the law and the contracts ask of a plan."""

from itertools import combinations

from rota import units
from rota.shift import length, overlaps

LEAST_REST = 11 * units.HOUR
WITHOUT_BREAK = 6 * units.HOUR


def rest(end, start):
    """Minutes from the end of a shift to the start of the next one, both given as times of day."""
    return (start - end) % units.DAY


def is_rested(end, start):
    """True if there is enough rest between two shifts."""
    return rest(end, start) >= LEAST_REST


def needs_break(shift):
    """True if the shift is too long to be worked without a break."""
    return length(shift) > WITHOUT_BREAK


def double_booked(plan):
    """Pairs of shifts that ask one person to be in two places."""
    valid = [shift for shift in plan if not shift.cancelled]
    pairs = combinations(valid, 2)
    return [(one, other) for one, other in pairs if one.person == other.person and overlaps(one, other)]
''',
    "rota/report.py": '''"""What is printed and hung on the wall."""

from rota import FIRST_DAY, clock

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def week_days():
    """The days of the week, in the order in which they are printed."""
    return DAYS[FIRST_DAY:] + DAYS[:FIRST_DAY]


def shift_line(shift):
    """A line of the sheet of a day, such as "Ann 07:30-16:00"."""
    return f"{shift.person} {clock.show(shift.start)}-{clock.show(shift.end)}"


def total_line(person, minutes):
    """A line of the sheet of a month, such as "Ann: 141:15"."""
    return f"{person}: {clock.show_length(minutes)}"


def overtime(worked, agreed):
    """What was worked above the agreed minutes, such as +2:30, or below them, such as -0:45."""
    sign = "-" if worked < agreed else "+"
    return sign + clock.show_length(abs(worked - agreed))
''',
}

PROJECTS: Final = (
    Project(
        name="gazette",
        files=GAZETTE,
        test_path="qa/check_{name}.py",
        test_head=(
            "from datetime import date, datetime, timedelta, timezone\n\n"
            "from gazette import digest, entries, feeds, stamps, writers\n\n"
            "UTC = timezone.utc\n"
            "EAST = timezone(timedelta(hours=2))\n\n\n"
            "def entry(title, published=datetime(2024, 5, 1, tzinfo=UTC), **more):\n"
            '    return entries.Entry(title, "https://a.example/" + title, published, **more)\n\n\n'
            "def test_{name}():\n    {test}\n"
        ),
        refused=r"\btzinfo\b|\bastimezone\(|\btimezone\.utc\b",
        reason="offsets are nobody's business but that of `stamps.utc`, please call it instead",
        defects=(
            Defect(
                name="newest",
                path="gazette/feeds.py",
                right=(
                    "    entries = sorted(entries, key=lambda entry: stamps.utc(entry.published), "
                    "reverse=True)\n"
                ),
                wrong="    entries.sort(key=lambda entry: stamps.utc(entry.published), reverse=True)\n",
                prompt=(
                    "After a call of gazette.feeds.newest my own list of entries is in another order. "
                    "It should leave it alone."
                ),
                test=(
                    "old = entry('old', datetime(2024, 1, 1, tzinfo=UTC))\n"
                    "    new = entry('new', datetime(2024, 2, 1, tzinfo=UTC))\n"
                    "    given = [old, new]\n"
                    "    assert feeds.newest(given, 1) == [new]\n"
                    "    assert given == [old, new]"
                ),
            ),
            Defect(
                name="age_hours",
                path="gazette/entries.py",
                right=("    return (stamps.utc(now) - stamps.utc(entry.published)).total_seconds() / 3600\n"),
                wrong="    return (now - entry.published).total_seconds() / 3600\n",
                prompt=(
                    "gazette.entries.age_hours dies with a TypeError on feeds that publish times "
                    "without an offset."
                ),
                test=(
                    "now = datetime(2024, 5, 1, 12, tzinfo=UTC)\n"
                    "    assert entries.age_hours(entry('a', datetime(2024, 5, 1, 9)), now) == 3\n"
                    "    assert entries.age_hours(entry('b', datetime(2024, 5, 1, 9, tzinfo=EAST)), now) == 5"
                ),
            ),
            Defect(
                name="anchor",
                path="gazette/digest.py",
                right=(
                    '    return f\'<a href="{markup.attribute(entry.link)}">'
                    "{markup.text(entry.title)}</a>'\n"
                ),
                wrong="    return f'<a href=\"{markup.text(entry.link)}\">{markup.text(entry.title)}</a>'\n",
                prompt=(
                    'A link with a " in it breaks the HTML of our newsletter. '
                    "I think gazette.digest.anchor is to blame."
                ),
                test=(
                    "item = entry('a')\n"
                    "    item.link = 'https://a.example/?q=\"x\"&p=1'\n"
                    "    expected = '<a href=\"https://a.example/?q=&quot;x&quot;&amp;p=1\">a</a>'\n"
                    "    assert digest.anchor(item) == expected"
                ),
            ),
            Defect(
                name="teaser",
                path="gazette/entries.py",
                right='    return words[: limit - 1].rstrip() + "…"\n',
                wrong='    return words[:limit].rstrip() + "…"\n',
                prompt="gazette.entries.teaser returns more characters than the limit I give it.",
                test=(
                    "assert entries.teaser(entry('a', summary='abcdefghij'), 6) == 'abcde…'\n"
                    "    assert entries.teaser(entry('a', summary='abcdef'), 6) == 'abcdef'"
                ),
            ),
            Defect(
                name="rfc3339",
                path="gazette/stamps.py",
                right='    return f"{utc(moment):%Y-%m-%dT%H:%M:%SZ}"\n',
                wrong='    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"\n',
                prompt=(
                    "Readers show our entries two hours late: gazette.stamps.rfc3339 writes 08:30:00Z "
                    "for 08:30 at +02:00."
                ),
                test=(
                    "moment = datetime(2024, 5, 1, 8, 30, tzinfo=EAST)\n"
                    "    assert stamps.rfc3339(moment) == '2024-05-01T06:30:00Z'"
                ),
            ),
            Defect(
                name="outline",
                path="gazette/writers.py",
                right="    name, address = markup.attribute(title), markup.attribute(url)\n",
                wrong="    name, address = markup.text(title), markup.text(url)\n",
                prompt=(
                    "The OPML file cannot be imported anywhere when the title of a feed has double quotes. "
                    "Please look at gazette.writers.outline."
                ),
                test=(
                    "found = writers.outline('The \"Post\" & more', 'https://a.example/f?a=1&b=\"2\"')\n"
                    "    assert 'text=\"The &quot;Post&quot; &amp; more\"' in found\n"
                    "    assert 'xmlUrl=\"https://a.example/f?a=1&amp;b=&quot;2&quot;\"' in found"
                ),
            ),
            Defect(
                name="with_tag",
                path="gazette/entries.py",
                right="    return replace(entry, tags=[*entry.tags, tag])\n",
                wrong="    entry.tags.append(tag)\n    return entry\n",
                prompt=(
                    "gazette.entries.with_tag should give me a copy, but the entry I pass in "
                    "has the new tag afterwards too."
                ),
                test=(
                    "item = entry('a', tags=['x'])\n"
                    "    assert entries.with_tag(item, 'y') == entry('a', tags=['x', 'y'])\n"
                    "    assert item.tags == ['x']"
                ),
            ),
            Defect(
                name="since",
                path="gazette/feeds.py",
                right=(
                    "    moment = stamps.utc(moment)\n"
                    "    return [entry for entry in entries if stamps.utc(entry.published) >= moment]\n"
                ),
                wrong="    return [entry for entry in entries if stamps.utc(entry.published) >= moment]\n",
                prompt=(
                    "gazette.feeds.since(entries, datetime(2024, 5, 1)) raises "
                    '"can\'t compare offset-naive and offset-aware datetimes". That call ought to work.'
                ),
                test=(
                    "before = entry('a', datetime(2024, 4, 30, 23, 59, tzinfo=UTC))\n"
                    "    exact = entry('b', datetime(2024, 5, 1, tzinfo=UTC))\n"
                    "    assert feeds.since([before, exact], datetime(2024, 5, 1)) == [exact]"
                ),
            ),
            Defect(
                name="settings",
                path="gazette/digest.py",
                right="    chosen = dict(DEFAULTS)\n",
                wrong="    chosen = DEFAULTS\n",
                prompt=(
                    "We write two newsletters in one run, and the second gets the title of the first. "
                    "gazette.digest.settings seems to remember what it was given."
                ),
                test=(
                    "assert digest.settings({'title': 'Weekly'})['title'] == 'Weekly'\n"
                    "    assert digest.settings({})['title'] == 'Digest'"
                ),
            ),
            Defect(
                name="by_day",
                path="gazette/feeds.py",
                right="        day = stamps.utc(entry.published).date()\n",
                wrong="        day = entry.published.date()\n",
                prompt=(
                    "gazette.feeds.by_day puts entries from other time zones under the wrong day "
                    "when they were published around midnight."
                ),
                test=(
                    "item = entry('a', datetime(2024, 5, 2, 1, 15, tzinfo=EAST))\n"
                    "    assert feeds.by_day([item]) == {date(2024, 5, 1): [item]}"
                ),
            ),
            Defect(
                name="category",
                path="gazette/writers.py",
                right="    return f'<category term=\"{markup.attribute(tag)}\"/>'\n",
                wrong="    return f'<category term=\"{markup.text(tag)}\"/>'\n",
                prompt='gazette.writers.category makes invalid XML of the tag 7" singles.',
                test="assert writers.category('7\" & 12\"') == '<category term=\"7&quot; &amp; 12&quot;\"/>'",
            ),
            Defect(
                name="subject",
                path="gazette/digest.py",
                right="    room = width - len(rest)\n",
                wrong="    room = width\n",
                prompt=(
                    "Subjects from gazette.digest.subject are sometimes wider than the width, "
                    "and our mail server folds them."
                ),
                test=(
                    "assert digest.subject([entry('abcdefghijkl'), entry('b')], 12) == 'abcdef… (+1)'\n"
                    "    assert digest.subject([entry('abcdefghijkl')], 12) == 'abcdefghijkl'"
                ),
            ),
        ),
    ),
    Project(
        name="rota",
        files=ROTA,
        test_path="scenarios/{name}_scenario.py",
        test_head=(
            "import unittest\n\n"
            "from rota import clock, plan, report, rules, shift\n"
            "from rota.shift import Shift\n\n\n"
            "class Scenario(unittest.TestCase):\n    def test_{name}(self):\n        {test}\n"
        ),
        refused=r"(?<![\w.])(60|1440|3600|86400|1_440|86_400)\b",
        reason="no bare 60 or 1440 in the code, please: take hours and days from `rota.units`",
        defects=(
            Defect(
                name="length",
                path="rota/shift.py",
                right="    return (shift.end - shift.start) % units.DAY\n",
                wrong="    return shift.end - shift.start\n",
                prompt="rota.shift.length is negative for night shifts, for example from 22:00 to 6:00.",
                test=(
                    "self.assertEqual(shift.length(Shift('Ann', 0, 1320, 360)), 480)\n"
                    "        self.assertEqual(shift.length(Shift('Ann', 0, 480, 960)), 480)"
                ),
            ),
            Defect(
                name="worked",
                path="rota/plan.py",
                right=("        if shift.cancelled:\n            continue\n        total += length(shift)\n"),
                wrong="        total += length(shift)\n",
                prompt=(
                    "Ann was paid for a shift that we had cancelled. rota.plan.worked must not count those."
                ),
                test=(
                    "given = [Shift('Ann', 0, 480, 960), Shift('Ann', 1, 480, 960, cancelled=True)]\n"
                    "        self.assertEqual(plan.worked(given, 'Ann'), 480)"
                ),
            ),
            Defect(
                name="total_line",
                path="rota/report.py",
                right='    return f"{person}: {clock.show_length(minutes)}"\n',
                wrong='    return f"{person}: {clock.show(minutes)}"\n',
                prompt=(
                    "The monthly sheet says 21:15 for somebody who worked 141 hours and a quarter; "
                    "rota.report.total_line prints it."
                ),
                test="self.assertEqual(report.total_line('Ann', 8475), 'Ann: 141:15')",
            ),
            Defect(
                name="overlaps",
                path="rota/shift.py",
                right="    return one_begin < other_end and other_begin < one_end\n",
                wrong="    return one_begin <= other_end and other_begin <= one_end\n",
                prompt=(
                    "rota.shift.overlaps says True for an early shift until 14:00 and a late shift "
                    "from 14:00. Handing over is fine."
                ),
                test=(
                    "early, late = Shift('Ann', 0, 360, 840), Shift('Ann', 0, 840, 1320)\n"
                    "        self.assertFalse(shift.overlaps(early, late))\n"
                    "        self.assertFalse(shift.overlaps(late, early))\n"
                    "        self.assertTrue(shift.overlaps(early, Shift('Ann', 0, 839, 900)))"
                ),
            ),
            Defect(
                name="later",
                path="rota/clock.py",
                right="    return (minute + length) % units.DAY\n",
                wrong="    return minute + length\n",
                prompt=(
                    "I asked rota.clock.later for six hours after 22:00 and got a minute that "
                    "no day has. It should be 4:00."
                ),
                test=(
                    "self.assertEqual(clock.later(1320, 360), 240)\n"
                    "        self.assertEqual(clock.later(1380, 60), 0)\n"
                    "        self.assertEqual(clock.later(480, 30), 510)"
                ),
            ),
            Defect(
                name="people_on",
                path="rota/plan.py",
                right=(
                    "    return sorted({shift.person for shift in plan "
                    "if shift.day == day and not shift.cancelled})\n"
                ),
                wrong="    return sorted({shift.person for shift in plan if shift.day == day})\n",
                prompt="rota.plan.people_on lists people whose only shift that day was called off.",
                test=(
                    "given = [Shift('Bo', 2, 480, 960), Shift('Ann', 2, 480, 960, cancelled=True)]\n"
                    "        self.assertEqual(plan.people_on(given, 2), ['Bo'])"
                ),
            ),
            Defect(
                name="rest",
                path="rota/rules.py",
                right="    return (start - end) % units.DAY\n",
                wrong="    return start - end\n",
                prompt=(
                    "According to rota.rules.rest nobody has any rest between a late shift "
                    "and the next morning's shift."
                ),
                test=(
                    "self.assertEqual(rules.rest(1320, 540), 660)\n"
                    "        self.assertEqual(rules.rest(360, 1080), 720)"
                ),
            ),
            Defect(
                name="shift_line",
                path="rota/report.py",
                right='    return f"{shift.person} {clock.show(shift.start)}-{clock.show(shift.end)}"\n',
                wrong=(
                    '    return f"{shift.person} {clock.show_length(shift.start)}'
                    '-{clock.show_length(shift.end)}"\n'
                ),
                prompt=(
                    "On the sheet of the day the columns do not line up, since rota.report.shift_line "
                    "prints 7:30 where it should print 07:30."
                ),
                test=(
                    "self.assertEqual(report.shift_line(Shift('Ann', 0, 450, 960)), 'Ann 07:30-16:00')\n"
                    "        self.assertEqual(report.shift_line(Shift('Bo', 0, 1320, 365)), 'Bo 22:00-06:05')"
                ),
            ),
            Defect(
                name="gaps",
                path="rota/plan.py",
                right="        if begin > reached:\n",
                wrong="        if begin >= reached:\n",
                prompt=(
                    "rota.plan.gaps reports gaps of no length, where one shift follows directly on another."
                ),
                test=(
                    "given = [Shift('Ann', 0, 360, 840), Shift('Bo', 0, 840, 1020)]\n"
                    "        given.append(Shift('Cy', 0, 1080, 1320))\n"
                    "        self.assertEqual(plan.gaps(given), [(1020, 1080)])"
                ),
            ),
            Defect(
                name="is_running",
                path="rota/shift.py",
                right=(
                    "    if shift.end < shift.start:\n"
                    "        return minute >= shift.start or minute < shift.end\n"
                    "    return shift.start <= minute < shift.end\n"
                ),
                wrong="    return shift.start <= minute < shift.end\n",
                prompt="rota.shift.is_running is never True for a shift from 22:00 to 6:00.",
                test=(
                    "night = Shift('Ann', 0, 1320, 360)\n"
                    "        found = [shift.is_running(night, m) for m in (1319, 1320, 0, 359, 360, 720)]\n"
                    "        self.assertEqual(found, [False, True, True, True, False, False])\n"
                    "        self.assertTrue(shift.is_running(Shift('Ann', 0, 480, 960), 480))"
                ),
            ),
            Defect(
                name="overtime",
                path="rota/report.py",
                right="    return sign + clock.show_length(abs(worked - agreed))\n",
                wrong="    return sign + clock.show(abs(worked - agreed))\n",
                prompt=(
                    "rota.report.overtime is wrong in long months: 26 and a half hours too many "
                    "come out as +02:30."
                ),
                test=(
                    "self.assertEqual(report.overtime(11190, 9600), '+26:30')\n"
                    "        self.assertEqual(report.overtime(9555, 9600), '-0:45')"
                ),
            ),
            Defect(
                name="double_booked",
                path="rota/rules.py",
                right="    valid = [shift for shift in plan if not shift.cancelled]\n",
                wrong="    valid = list(plan)\n",
                prompt=(
                    "We cancel a shift and book the person elsewhere, and rota.rules.double_booked "
                    "still complains about the two."
                ),
                test=(
                    "gone, new = Shift('Ann', 0, 480, 960, cancelled=True), Shift('Ann', 0, 540, 1020)\n"
                    "        other = Shift('Ann', 0, 600, 660)\n"
                    "        self.assertEqual(rules.double_booked([gone, new]), [])\n"
                    "        self.assertEqual(rules.double_booked([gone, new, other]), [(new, other)])"
                ),
            ),
        ),
    ),
)
