"""Makes tar archives that a hostile program could send: every header format, and every way to break it.

All choices come from one `random.Random`, so a seed names an archive. Nothing here uses `tarfile`: it would
refuse to write most of this.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

BLOCK = 512
SAFE = (
    "a.py",
    "b.txt",
    "src/c.py",
    "src/pkg/d.py",
    "tests/e.py",
    "日本/f.txt",
    "A.PY",
    "name with space",
    "-dash",
)
LINKS = ("link", "link/x", "pkg/link/x", "abs/x", "filelink", "late/x", "dangling", "up/x")
"""Paths on or below the links that tests/fuzz_archive.py plants."""
HOSTILE = (
    "../x", "../../outside/canary", "/etc/x", "//x", "a/../../x", "a/./b", "a//b", "a/", "", ".", "..", "./a",
    "a/..", ".git/config", ".git/hooks/pre-commit", ".GIT/hooks/x", "sub/.git/config", "git~1/x",
    ".g\u200cit/x",
    ".git./x", ".git ", ".gıt/x", ".git::$INDEX_ALLOCATION/x", "x\0y", "\0", "x\ny", "x\ry", "a.py/below",
    "x\x1b]52;c;eA==\x07", "\u202etxt", "C:\\x", "..\\x", "~/x", "$HOME/x", "...", "a/.../b", "\ud7ff",
    "\U000e0041x", "e\u0301", "\u00e9", "src", "n" * 255, "p" * 200 + "/" + "q" * 200,
)  # fmt: skip
PAST_CAPS = ("n" * 256, "n" * 5000, "d/" * 101 + "x", "d/" * 1500 + "x", "/".join(["n" * 250] * 20))
RAW = (b"\xff\xfe", b"\xc3", b"a/\x80/b", b"\xed\xa0\x80", b"..\xc0\xaf..\xc0\xafx", b"\xff" * 100)
KINDS = (
    b"0",
    b"\0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
    b"7",
    b"S",
    b"D",
    b"M",
    b"N",
    b"V",
    b"A",
    b"Z",
    b"\xff",
)
TARGETS = (b"/etc/passwd", b"../outside", b"a.py", b"link", b".git", b"", b"\xff", b"x" * 100)


@dataclass
class Archive:
    """A stream, and what is known about it."""

    data: bytes
    members: int
    benign: bool
    """Well-formed, with nothing but what GNU tar or pax would write."""


@dataclass
class _Maker:
    rng: Random
    out: list[bytes] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def header(
        self, name: bytes, kind: bytes, size: bytes, magic: bytes, link: bytes = b"", prefix: bytes = b""
    ) -> bytearray:
        block = bytearray(BLOCK)
        block[0:100] = name[:100].ljust(100, b"\0")
        block[100:124] = b"0000644\0" + b"0001750\0" * 2
        block[124:136] = size[:12].ljust(12, b"\0")
        block[136:148] = b"14371573404\0"
        block[156:157] = kind
        block[157:257] = link[:100].ljust(100, b"\0")
        block[257:265] = magic.ljust(8, b"\0")
        block[345:500] = prefix[:155].ljust(155, b"\0")
        seal(block)
        return block

    def meta(self, kind: bytes, data: bytes) -> None:
        """An extended header and its data."""
        self.out += [
            bytes(self.header(b"././@LongLink", kind, octal(len(data)), b"ustar\x0000")),
            padded(data),
        ]

    def member(
        self, name: bytes, kind: bytes, data: bytes, *, size: bytes | None = None, link: bytes = b""
    ) -> None:
        """One member in a format of its own; long names by GNU, pax or the ustar prefix."""
        rng, size = self.rng, octal(len(data)) if size is None else size
        style = rng.randrange(4)
        magic, prefix = (b"", b"ustar\x0000", b"ustar  \0", b"ustar\x0000")[style], b""
        if style == 3 or (style == 2 and len(name) > 100):
            if style == 2:
                self.meta(b"L", name + b"\0")
            elif rng.random() < 0.8 or len(name) > 100:
                self.meta(
                    b"x", record(b"path", name) + (record(b"mtime", b"1.5") if rng.random() < 0.5 else b"")
                )
        elif style == 1 and b"/" in name and rng.random() < 0.5:
            prefix, _, rest = name.partition(b"/")
            name = rest if len(prefix) <= 155 else name
            prefix = prefix if len(prefix) <= 155 else b""
        self.out += [bytes(self.header(name, kind, size, magic, link, prefix)), padded(data)]


def octal(size: int) -> bytes:
    return b"%011o\0" % size


def base256(value: int) -> bytes:
    """GNU's form for numbers that octal cannot hold; negative ones begin with 0xff."""
    return (value & ((1 << 96) - 1) | (0 if value < 0 else 0x80 << 88)).to_bytes(12, "big")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def record(key: bytes, value: bytes) -> bytes:
    """A pax record; its length counts its own digits."""
    size = len(key) + len(value) + 3
    size += len(str(size + len(str(size))))
    return b"%d %s=%s\n" % (size, key, value)


def seal(block: bytearray) -> None:
    """Write the checksum."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)


def _name(rng: Random) -> bytes:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(SAFE).encode()
    if kind < 0.5:
        return b"%d/" % rng.randrange(200) + rng.choice(SAFE).encode()
    if kind < 0.65:
        return rng.choice(LINKS).encode()
    if kind < 0.94:
        return rng.choice(HOSTILE).encode("utf-8", "surrogatepass")
    return rng.choice(RAW) if kind < 0.97 else rng.randbytes(rng.randrange(1, 40))


def _plain(maker: _Maker) -> None:
    rng = maker.rng
    maker.member(
        _name(rng),
        rng.choice((b"0", b"0", b"\0")),
        rng.randbytes(rng.choice((0, 1, 40, 511, 512, 513, 3000))),
    )


def _odd_kind(maker: _Maker) -> None:
    rng = maker.rng
    kind, data = rng.choice(KINDS), rng.randbytes(rng.choice((0, 0, 0, 100, 600)))
    maker.member(_name(rng), kind, data, link=rng.choice(TARGETS))


def _link_then_file(maker: _Maker) -> None:
    """CVE-2025-4517, CVE-2026-11940: a link, then a file through it, then the name again."""
    rng, name = maker.rng, _name(maker.rng)
    maker.member(name, rng.choice((b"1", b"2")), b"", link=rng.choice(TARGETS))
    maker.member(name + b"/below", b"0", b"through the link")
    maker.member(name, b"0", b"in its place")


def _odd_size(maker: _Maker) -> None:
    rng = maker.rng
    values = (-1, -512, 1 << 33, 1 << 62, 1 << 70, (1 << 87) - 1, 64 << 20, 5)
    sizes = [
        *map(base256, values),
        b"77777777777\0",
        b"777777777777",
        b"-0000000001\0",
        b"0x10",
        b"",
        b" " * 12,
    ]
    sizes += [b"8\0", b"10 \0junk", b"\x80" + b"\xff" * 11, b"\xc0" + b"\0" * 11, octal(5), rng.randbytes(12)]
    maker.member(_name(rng), rng.choice((b"0", b"0", b"2", b"L", b"x")), b"12345", size=rng.choice(sizes))


def _pax(maker: _Maker) -> None:
    rng = maker.rng
    sizes = (b"5", b"0", b"-1", b"99999999999999999999", b"9" * 25, b"0x5", b"", b"\xb2", b"5.0")
    good = [
        record(b"path", _name(rng)),
        record(b"linkpath", rng.choice(TARGETS)),
        record(b"size", rng.choice(sizes)),
    ]
    good += [record(b"hdrcharset", b"BINARY"), record(b"SCHILY.xattr.security.capability", b"\x01" * 20)]
    broken = [
        b"0 a=b\n",
        b"9999 a=b\n",
        b"6 a=bb",
        b"noequals\n",
        b"12 path\n",
        b"-5 a=b\n",
        b" a=b\n",
        b"5" * 30,
        b"3 \n",
    ]
    broken += [
        b"7 a=b\n\n",
        record(b"path", b"x")[:-1],
        rng.randbytes(30),
        b"5 a=\n" * rng.choice((10, 13_000, 14_000)),
    ]
    chosen = rng.sample(good, rng.randrange(1, 4)) + ([rng.choice(broken)] if rng.random() < 0.3 else [])
    maker.meta(rng.choice((b"x", b"x", b"x", b"X", b"g")), b"".join(chosen))
    maker.member(_name(rng), b"0", b"12345")


def _sparse(maker: _Maker) -> None:
    rng, name = maker.rng, _name(maker.rng)
    if rng.random() < 0.4:  # old GNU: the map in the header, and in blocks that may go on
        block = maker.header(name, b"S", octal(512), b"ustar  \0")
        block[386:410] = octal(0) + octal(512)
        block[482] = rng.choice((0, 1, 1, 255))
        block[483:495] = rng.choice((octal(1 << 30), base256(1 << 62), base256(-1)))
        seal(block)
        maker.out.append(bytes(block))
        for left in range(rng.randrange(3) if block[482] else 0, -1, -1):
            maker.out.append(bytes(504) + bytes([left > 0]) + bytes(7))
        maker.out.append(rng.randbytes(512))
        return
    forms = (
        record(b"GNU.sparse.size", b"1048576")
        + record(b"GNU.sparse.numblocks", b"1")
        + record(b"GNU.sparse.offset", b"0"),
        record(b"GNU.sparse.map", b"0,512,1048064,0") + record(b"GNU.sparse.name", name),
        record(b"GNU.sparse.major", b"1")
        + record(b"GNU.sparse.minor", b"0")
        + record(b"GNU.sparse.realsize", b"9" * 15),
    )
    maker.meta(b"x", rng.choice(forms) + (record(b"GNU.sparse.name", name) if rng.random() < 0.5 else b""))
    maker.member(b"GNUSparseFile.0/" + name, b"0", b"1\n0\n512\n".ljust(1024, b"\0"))


def _long(maker: _Maker) -> None:
    rng = maker.rng
    for _ in range(rng.choice((1, 1, 2, 9))):
        kind = rng.choice((b"L", b"L", b"K"))
        maker.meta(
            kind, rng.choice((_name(rng) + b"\0", _name(rng), b"", b"n" * 65_537, b"a\0../b\0", b"x/" * 3000))
        )
    maker.member(b"short", b"0", b"data")


def _loose(maker: _Maker) -> None:
    """A block that is no header: noise, a bad checksum, a signed one, zeros in the middle."""
    rng = maker.rng
    block = maker.header(_name(rng), b"0", octal(0), b"ustar\x0000")
    kind = rng.randrange(4)
    if kind == 0:
        block[148:156] = b"%06o\0 " % (sum(block) + 1)
    elif kind == 1:
        signed = sum(byte - 256 if byte > 127 else byte for byte in block)
        block[148:156] = b"%06o\0 " % max(signed, 0)
    elif kind == 2:
        block = bytearray(rng.randbytes(BLOCK))
    else:
        block = bytearray(BLOCK)
    maker.out.append(bytes(block))


def _past_caps(maker: _Maker) -> None:
    maker.member(maker.rng.choice(PAST_CAPS).encode(), b"0", b"data")


TELLING = ((_plain, 60), (_odd_kind, 14), (_link_then_file, 5), (_sparse, 5))
"""Members that a reader passes over or takes, with their weights."""
RUINOUS = ((_odd_size, 5), (_pax, 6), (_long, 3), (_loose, 2), (_past_caps, 2))
"""Those after which a reader often refuses the whole archive."""


def _spread(weights: tuple[tuple[Callable[[_Maker], None], int], ...]) -> list[Callable[[_Maker], None]]:
    return [make for make, weight in weights for _ in range(weight)]


_CALM, _WILD = _spread(TELLING), _spread(TELLING + RUINOUS)


def hostile(rng: Random, most: int = 16) -> Archive:
    """One archive of up to `most` members: well-formed ones, ones that are odd to the end, ruined ones."""
    maker = _Maker(rng)
    count, flavour = rng.randrange(1, most + 1), rng.random()
    for _ in range(count):
        if flavour < 0.1:
            maker.member(rng.choice(SAFE).encode(), b"0", rng.randbytes(rng.randrange(700)))
        else:
            rng.choice(_CALM if flavour < 0.6 else _WILD)(maker)
    data, end = b"".join(maker.out), bytes(2 * BLOCK)
    if flavour < 0.6:
        return Archive(data + rng.choice((end, end, bytes(BLOCK), end + data)), count, flavour < 0.1)
    return Archive(_damaged(rng, data + rng.choice((end, end, b"", rng.randbytes(700)))), count, benign=False)


def _damaged(rng: Random, data: bytes) -> bytes:
    """Mostly as it is; sometimes cut short, or with some bytes changed."""
    chance = rng.random()
    if chance < 0.05:
        return data[: rng.randrange(len(data))]
    if chance < 0.15:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    return data
