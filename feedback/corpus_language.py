"""Which language a file is in: by name, extension or `#!` line, and by its text where those leave a doubt.

The names are those of GitHub's linguist, which The Stack used. What has no place in the table has no
language and stays out of a corpus: plain text, logs, spreadsheets, pictures.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["code", "markup", "data", "prose"]

_CODE: Final = """
Ada: adb ads | Assembly: asm s nasm | AWK: awk | Batchfile: bat cmd | C: c | C#: cs csx | C++: cc cpp cxx
c++ hh hpp hxx h++ inl ipp tpp | Clojure: clj cljs cljc | CMake: cmake | COBOL: cob cbl | CoffeeScript:
coffee | Common Lisp: lisp lsp asd | Crystal: cr | Cuda: cu cuh | Cython: pyx pxd pxi | D: d di | Dart: dart
| Dockerfile: dockerfile | Elixir: ex exs | Elm: elm | Emacs Lisp: el | Erlang: erl hrl | F#: fs fsi fsx |
Fortran: f f77 f90 f95 f03 f08 for | GDScript: gd | GLSL: glsl vert frag geom | Go: go | GraphQL: graphql
gql | Groovy: groovy gradle | Haskell: hs lhs | HCL: hcl tf | HLSL: hlsl | Java: java | JavaScript: js mjs
cjs jsx | Julia: jl | Just: just | Kotlin: kt kts | Lua: lua | Makefile: mk mak make | Meson: meson | Nim:
nim nims | Nix: nix | Objective-C: | Objective-C++: mm | OCaml: ml mli | Pascal: pas dpr lpr | Perl: pm |
PHP: php phtml php8 | PowerShell: ps1 psm1 psd1 | Prolog: prolog | Protocol Buffer: proto | Python: py pyi
pyw | QML: qml | R: r | Racket: rkt | Raku: raku rakumod | Ruby: rb rake gemspec | Rust: rs | Scala: scala
sbt | Scheme: scm ss sld | Shell: sh bash zsh ksh bats | Smalltalk: | Solidity: sol | SQL: sql | Standard
ML: sml sig fun | Starlark: bzl star | Swift: swift | SystemVerilog: sv svh | Tcl: tcl tk | Thrift: thrift |
TSX: tsx | TypeScript: mts cts | Vala: vala vapi | VBA: bas | Verilog: vh | VHDL: vhd vhdl | Vim Script: vim
| Visual Basic .NET: vb | Vue: vue | WebAssembly: wat wast | Svelte: svelte | XSLT: xsl xslt | Zig: zig |
Jupyter Notebook: ipynb | MATLAB: | Coq: | Qt Linguist: | Mathematica: wl wls | ABAP: abap | Apex: apex |
Arduino: ino | AutoHotkey: ahk | Fish: fish | FreeMarker: ftl | Haxe: hx | Jinja: j2 jinja jinja2 | Liquid:
liquid | ReScript: res | Twig: twig | Handlebars: hbs | ERB: erb | Pug: pug
"""
_MARKUP: Final = """
HTML: html htm xhtml | CSS: css | SCSS: scss | Sass: sass | Less: less | XML: xml xsd wsdl plist csproj
fsproj vbproj vcxproj props targets resx xaml | SVG: svg
"""
_DATA: Final = (
    "JSON: json jsonc json5 webmanifest geojson | YAML: yaml yml | TOML: toml | INI: ini cfg conf properties"
)
_PROSE: Final = (
    "Markdown: md markdown mdx | reStructuredText: rst | AsciiDoc: adoc asciidoc | TeX: tex sty | Org: org"
)

_NAMES: Final = {
    "makefile": "Makefile", "gnumakefile": "Makefile", "dockerfile": "Dockerfile",
    "containerfile": "Dockerfile", "cmakelists.txt": "CMake", "rakefile": "Ruby", "gemfile": "Ruby",
    "vagrantfile": "Ruby", "podfile": "Ruby", "jenkinsfile": "Groovy", "build": "Starlark",
    "build.bazel": "Starlark", "workspace": "Starlark", "meson.build": "Meson",
    "meson_options.txt": "Meson", "sconstruct": "Python", "sconscript": "Python", "wscript": "Python",
    "justfile": "Just", ".bashrc": "Shell", ".bash_profile": "Shell", ".profile": "Shell",
    ".zshrc": "Shell", ".vimrc": "Vim Script", ".emacs": "Emacs Lisp", "snakefile": "Python",
    "configure.ac": "M4",
}  # fmt: skip
"""By whole name, in lower case."""

_PROGRAMS: Final = {
    "awk": "AWK", "gawk": "AWK", "bash": "Shell", "dash": "Shell", "ksh": "Shell", "sh": "Shell",
    "zsh": "Shell", "fish": "Fish", "node": "JavaScript", "nodejs": "JavaScript", "deno": "TypeScript",
    "bun": "TypeScript", "ts-node": "TypeScript", "perl": "Perl", "php": "PHP", "python": "Python",
    "pypy": "Python", "uv": "Python", "ruby": "Ruby", "lua": "Lua", "luajit": "Lua", "rscript": "R",
    "tclsh": "Tcl", "wish": "Tcl", "make": "Makefile", "julia": "Julia", "groovy": "Groovy",
    "escript": "Erlang", "elixir": "Elixir", "raku": "Raku", "pwsh": "PowerShell", "runghc": "Haskell",
    "runhaskell": "Haskell", "scala": "Scala", "swipl": "Prolog", "guile": "Scheme", "racket": "Racket",
    "ocaml": "OCaml", "bats": "Shell", "sbcl": "Common Lisp",
}  # fmt: skip
"""By the program that a `#!` line starts, its version left off."""

_DOUBTS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "h": (
        ("Objective-C", r"^[ \t]*(?:@(?:interface|protocol|class|property|end)\b|#import\b)"),
        (
            "C++",
            r"^[ \t]*(?:template\s*<|namespace\b|class\s+\w+|using\s+\w|(?:public|private|protected)\s*:"
            r"|#\s*include\s*<(?:\w+|c(?:std\w+|math|string))>)|\b(?:std::\w|constexpr\b|noexcept\b|nullptr\b|virtual\s)",
        ),
        ("C", ""),
    ),
    "m": (
        (
            "Objective-C",
            r"^[ \t]*(?:@(?:interface|implementation|protocol|import|class|end)\b|#(?:import|include)\b)",
        ),
        ("Mathematica", r"\(\*|^[ \t]*\w+\[\w*_"),
        ("MATLAB", r"^[ \t]*(?:%|function\b|end\b|for\b|if\b|[\w.,\[\] ()]+=|disp\b|clc\b|clear\b)"),
    ),
    "pl": (
        (
            "Perl",
            r"^[ \t]*(?:use\s+(?:strict|warnings|v?5)|package\s+\w|sub\s+\w|my\s*[$@%(])"
            r"|^#!.*perl|[$@%]\w+\s*=",
        ),
        ("Prolog", r"^[ \t]*:-\s|^[a-z]\w*\(.*\)\s*(?::-|\.)|^%"),
    ),
    "t": (("Perl", r"^[ \t]*(?:use\s+\w|my\s*[$@%(]|sub\s+\w|package\s+\w)|^#!.*perl"),),
    "pro": (("Prolog", r"^[ \t]*:-\s|^[a-z]\w*\(.*\)\s*(?::-|\.)"),),
    "ts": (("Qt Linguist", r"\A\s*(?:<\?xml|<!DOCTYPE TS|<TS\b)"), ("TypeScript", "")),
    "tsx": (("XML", r"\A\s*<\?xml"), ("TSX", "")),
    "rs": (("XML", r"\A\s*<\?xml"), ("Rust", "")),
    "v": (
        ("Coq", r"^[ \t]*(?:Require|Theorem|Lemma|Proof|Definition|Inductive|Fixpoint|Qed)\b"),
        ("Verilog", r"^[ \t]*(?:module|endmodule|`timescale|`include|`define|primitive)\b|^[ \t]*`\w"),
        ("V", r"^[ \t]*(?:fn\s+\w|module\s+\w+\s*$|pub\s+fn\b|import\s+\w)"),
    ),
    "fs": (("GLSL", r"^[ \t]*(?:#version\b|uniform\s|varying\s|void\s+main\s*\()"), ("F#", "")),
    "cls": (
        ("TeX", r"^[ \t]*\\(?:NeedsTeXFormat|ProvidesClass|LoadClass)"),
        ("VBA", r"^(?:VERSION \d|Attribute VB_)"),
        ("Apex", r"(?i)^[ \t]*(?:public|private|global|virtual|abstract)\b.*\bclass\b"),
    ),
    "inc": (
        ("PHP", r"<\?php"),
        ("C++", r"^[ \t]*(?:#\s*(?:include|define|if|pragma)\b|template\s*<)"),
        ("Assembly", r"(?i)^[ \t]*(?:\.?(?:macro|equ|section|global)\b|%\w+)"),
        ("Pascal", r"(?i)^[ \t]*(?:\{\$|procedure\b|function\b.*;|unit\b)"),
    ),
    "d": (("Makefile", r"\A[\w./-]+\.l?o\s*:"), ("D", "")),
    "cs": (("Smalltalk", r"\A!|^![\w ]+ methodsFor:"), ("C#", "")),
    "st": (("Smalltalk", r"^!|^[A-Z]\w+ (?:class )?>>|subclass: #"),),
    "sc": (("Scala", r"^[ \t]*(?:import|def|val|object|class|package|trait)\b"),),
    "cl": (
        ("Common Lisp", r"^[ \t]*\((?:defun|defmacro|in-package|defpackage)\b"),
        ("OpenCL", r"\b__?kernel\b|\bget_global_id\b"),
    ),
    "cgi": (("Perl", r"^#!.*perl"), ("Python", r"^#!.*python"), ("Shell", r"^#!.*sh\b")),
    "bb": (("BitBake", r"^[ \t]*(?:inherit\s|SRC_URI|DESCRIPTION\s*=|do_\w+)"),),
    "xml": (("Qt Linguist", r"<!DOCTYPE TS>"), ("XSLT", r"<xsl:stylesheet\b"), ("XML", "")),
}  # fmt: skip
"""Extension -> languages and what speaks for each, in order; one without a pattern takes the rest."""

_LOOKED_AT: Final = 30_000
"""Characters of the text that are looked at where the extension leaves a doubt."""
_SHEBANG = re.compile(
    r"#![ \t]*(?:\S*/)?env[ \t]+(?:-\S+[ \t]+)*(?:\w+=\S*[ \t]+)*(\S+)|#![ \t]*(?:\S*/)?(\S+)"
)


def _table(text: str) -> dict[str, str]:
    rows = (row.split(":") for row in " ".join(text.split()).split("|"))
    return {end: name.strip() for name, ends in rows for end in ends.split()}


def _languages(text: str) -> set[str]:
    return {row.split(":")[0].strip() for row in " ".join(text.split()).split("|")}


_ENDS: Final = {**_table(_CODE), **_table(_MARKUP), **_table(_DATA), **_table(_PROSE)}
_KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(sorted(_languages(_MARKUP)), "markup"),
    **dict.fromkeys(sorted(_languages(_DATA)), "data"),
    **dict.fromkeys(sorted(_languages(_PROSE)), "prose"),
    "Qt Linguist": "markup",
}


def kind_of(language: str) -> Kind:
    """What sort of text a language is for."""
    return _KINDS.get(language, "code")


def extension(path: str) -> str:
    """Such as `py`, in lower case; empty for a name without one, such as `Makefile` or `.bashrc`."""
    stem, dot, end = path.rpartition("/")[2].rpartition(".")
    return end.lower() if dot and stem else ""


def known_languages() -> list[str]:
    """All that can be told, sorted."""
    doubtful = {name for rules in _DOUBTS.values() for name, _ in rules}
    tables = _languages(_CODE) | _languages(_MARKUP) | _languages(_DATA) | _languages(_PROSE)
    return sorted(tables | doubtful | set(_NAMES.values()) | set(_PROGRAMS.values()))


def language_of(path: str, text: str) -> str:
    """The language of a file, or an empty text."""
    name = path.rpartition("/")[2].lower()
    if name in _NAMES:
        return _NAMES[name]
    if name.startswith(("dockerfile.", "makefile.")):
        return _NAMES[name.partition(".")[0]]
    end = extension(path)
    if end in _DOUBTS:
        return _decided(end, text[:_LOOKED_AT])
    return _ENDS.get(end) or _by_program(text)


def _decided(end: str, text: str) -> str:
    for name, pattern in _DOUBTS[end]:
        if not pattern or re.search(pattern, text, re.MULTILINE):
            return name
    return ""


def _by_program(text: str) -> str:
    """By the `#!` line: `#!/usr/bin/env python3`, `#!/bin/sh`."""
    found = _SHEBANG.match(text[:200].partition("\n")[0])
    if not found:
        return ""
    program = (found[1] or found[2]).rpartition("/")[2].lower()
    return _PROGRAMS.get(program) or _PROGRAMS.get(re.sub(r"[-\d.]+$", "", program), "")
