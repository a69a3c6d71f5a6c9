"""The licence of a repository: names, texts, manifests, headers, what disagrees, and what is hostile."""

import json
import os
from importlib.metadata import distribution
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.candidate import Licence
from feedback.licence_manifests import said_by
from feedback.licence_names import is_permissive, named, normalised
from feedback.licence_texts import recognise
from feedback.licences import HEADER, LARGEST, detect, licence, of_folder

UNKNOWN = Licence()


def text_of(package: str, name: str = "LICENSE") -> str:
    """The licence's text of a package that is installed for tests anyway."""
    files = distribution(package).files or []
    found = [file for file in files if "dist-info" in str(file) and str(file).endswith(name)]
    return Path(str(found[0].locate())).read_text(encoding="utf-8")


MIT, BSD3, APACHE = text_of("pluggy"), text_of("idna", "LICENSE.md"), text_of("docker")
GPL3 = "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n\nEveryone is permitted to copy and distribute"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("MIT", "MIT"),
        ("The MIT License (MIT)", "MIT"),
        ("apache-2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache Software License", "Apache-2.0"),
        ("New BSD License", "BSD-3-Clause"),
        ("GPLv3", "GPL-3.0-only"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("GPL v2 or any later version", "GPL-2.0-or-later"),
        ("GNU Lesser General Public License v2 or later (LGPLv2+)", "LGPL-2.0-or-later"),
        ("GNU GPL", "GPL-1.0-or-later"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
        ("MIT or GPLv3", "MIT OR GPL-3.0-only"),
        ("Apache 2.0 and MIT", "Apache-2.0 AND MIT"),
        ("Apache-2.0 AND (MIT OR GPL-2.0-or-later)", "Apache-2.0 AND (MIT OR GPL-2.0-or-later)"),
        ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"),
        ("Proprietary", ""),
        ("UNLICENSED", ""),
        ("LicenseRef-Ours", ""),
        ("MIT AND", ""),
        ("MIT " * 200, ""),
    ],
)
def test_names_become_spdx(written: str, expected: str) -> None:
    assert named(written) == expected
    assert normalised(written) == expected


@pytest.mark.parametrize("written", ["", "  ", "BSD", "UNKNOWN", "SEE LICENSE IN terms.txt", "file: COPYING"])
def test_words_that_leave_it_open_claim_nothing(written: str) -> None:
    assert named(written) is None


@pytest.mark.parametrize(
    ("spdx", "permissive"),
    [
        ("MIT", True),
        ("Zlib", True),
        ("MPL-2.0", False),
        ("BSD-4-Clause", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("Apache-2.0 AND (MIT OR GPL-2.0-or-later)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("", False),
        ("no expression at all", False),
    ],
)
def test_permissive_is_any_side_of_or_and_all_of_and(spdx: str, permissive: bool) -> None:
    assert is_permissive(spdx) is permissive


@given(st.text(max_size=40) | st.from_regex(r"\A[(MITORANDWH ./,+-]{0,40}\Z"))
def test_no_name_breaks_the_reader(text: str) -> None:
    found = normalised(text)
    assert not found or normalised(found) == found


@pytest.mark.parametrize(
    ("package", "name", "expected"),
    [
        ("pluggy", "LICENSE", "MIT"),
        ("idna", "LICENSE.md", "BSD-3-Clause"),
        ("Pygments", "LICENSE", "BSD-2-Clause"),
        ("shellingham", "LICENSE", "ISC"),
        ("docker", "LICENSE", "Apache-2.0"),
        ("sortedcontainers", "LICENSE", "Apache-2.0"),
        ("hypothesis", "LICENSE.txt", "MPL-2.0"),
        ("certifi", "LICENSE", "MPL-2.0"),
        ("psycopg", "LICENSE.txt", "LGPL-3.0-only"),
        ("packaging", "LICENSE.APACHE", "Apache-2.0"),
        ("tqdm", "LICENCE", "MIT AND MPL-2.0"),
        ("typing_extensions", "LICENSE", "0BSD AND HPND AND Python-2.0"),
    ],
)
def test_texts_of_packages_are_recognised(package: str, name: str, expected: str) -> None:
    assert recognise(text_of(package, name)) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (GPL3, "GPL-3.0-only"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3, 19 November 2007", "AGPL-3.0-only"),
        ("Eclipse Public License - v 2.0", "EPL-2.0"),
        ("EUROPEAN UNION PUBLIC LICENCE v. 1.2 ... Eclipse Public License v. 1.0", "EUPL-1.2"),
        ("Business Source License 1.1", "BUSL-1.1"),
        ("Server Side Public License", "SSPL-1.0"),
        ("This is free software under the GNU General Public License, version 2, or any later version", None),
    ],
)
def test_copyleft_is_known_by_its_heading(head: str, expected: str | None) -> None:
    assert recognise(head) == (expected or "GPL-2.0-or-later")


def test_the_form_of_a_text_does_not_matter() -> None:
    noisy = "\r\n".join(f" * {line}" for line in MIT.splitlines())
    assert recognise(f"# License\n\n{noisy}") == "MIT"
    assert recognise(MIT.upper()) == "MIT"


@pytest.mark.parametrize(
    "added",
    [
        '"Commons Clause" License Condition v1.0: the grant of rights does not include the right to Sell.',
        "The Software may be used for non-commercial purposes only.",
        "This software may only be redistributed and used in connection with our devices.",
        "The Software shall be used for Good, not Evil.",
        "It may not be used to train models.",
        "Licensees agree to the following further terms. " * 30,
    ],
)
def test_terms_added_to_a_permissive_text_make_it_unknown(added: str) -> None:
    assert recognise(f"{MIT}\n{added}\n") == ""


def test_two_texts_in_one_file_both_hold() -> None:
    assert recognise(f"{MIT}\n\n{BSD3}") == "MIT AND BSD-3-Clause"
    assert recognise(f"{MIT}\n\n{GPL3}") == "MIT AND GPL-3.0-only"


def test_a_text_that_only_leads_elsewhere_says_nothing() -> None:
    assert recognise("You may choose the terms of LICENSE.APACHE or LICENSE.BSD.") is None
    assert recognise("All rights reserved.") == ""
    assert recognise("\n \n") is None
    assert recognise("\0\ufffd") == ""


POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><!-- <licenses/> --><licenses>
<license><name>Apache License, Version 2.0</name></license><license><name>GPLv3</name></license>
</licenses></project>"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("pyproject.toml", '[project]\nlicense = "MIT OR GPL-3.0-only"\n', "MIT OR GPL-3.0-only"),
        ("pyproject.toml", '[project]\nlicense = {text = "BSD-3-Clause"}\n', "BSD-3-Clause"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}\n', None),
        ("pyproject.toml", f"[project]\nlicense = {{text = {json.dumps(MIT)}}}\n", "MIT"),
        ("pyproject.toml", '[tool.poetry]\nlicense = "Apache-2.0"\n', "Apache-2.0"),
        (
            "pyproject.toml",
            '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]\n',
            "MIT",
        ),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: Other/Proprietary License"]\n', ""),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved"]\n', None),
        ("pyproject.toml", "[project\n", None),
        ("pyproject.toml", "project = 3\n", None),
        ("setup.cfg", "[metadata]\nlicense = ISC\n", "ISC"),
        ("setup.cfg", "[metadata]\nclassifiers =\n  License :: OSI Approved :: MIT License\n", "MIT"),
        ("setup.cfg", "no section\n", None),
        ("setup.py", 'setup(name="x", license="GPLv2")', "GPL-2.0-only"),
        ("package.json", '{"license": "(MIT OR Apache-2.0)"}', "MIT OR Apache-2.0"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}', "MIT OR GPL-2.0-only"),
        ("package.json", '{"license": "UNLICENSED"}', ""),
        ("package.json", '{"license": "SEE LICENSE IN x.txt"}', None),
        ("package.json", "[" * 100_000, None),
        ("package.json", '{"license": 3}', None),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "MIT OR Apache-2.0"),
        (
            "Cargo.toml",
            '[package]\nlicense.workspace = true\n[workspace.package]\nlicense = "Zlib"\n',
            "Zlib",
        ),
        ("composer.json", '{"license": ["LGPL-2.1-only", "MIT"]}', "LGPL-2.1-only OR MIT"),
        ("composer.json", '{"license": "proprietary"}', ""),
        ("pom.xml", POM, "Apache-2.0 OR GPL-3.0-only"),
        ("pom.xml", f'<!DOCTYPE a [<!ENTITY b "MIT">]>{POM}', None),
        ("pom.xml", "<project>", None),
        ("x.gemspec", 'Gem::Specification.new do |s|\n  s.license = "MIT"\nend', "MIT"),
        ("x.gemspec", "s.licenses = ['MIT', 'GPL-2.0']", "MIT AND GPL-2.0-only"),
        ("x.gemspec", "s.licenses = %w[MIT Ruby]", "MIT AND Ruby"),
        ("README.md", "license = MIT", None),
    ],
)
def test_manifests_are_read_as_data(name: str, text: str, expected: str | None) -> None:
    assert said_by(name, text) == expected


def manifest(said: str) -> str:
    return f'[project]\nlicense = "{said}"\n'


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, UNKNOWN),
        ({"README.md": "MIT"}, UNKNOWN),
        ({"LICENSE": MIT}, Licence(spdx="MIT", source="file", permissive=True)),
        ({"LICENSE": "Ours alone."}, Licence(spdx="", source="file", permissive=False)),
        ({"sub/LICENSE": MIT}, UNKNOWN),
        ({"third-party/LICENSE": GPL3, "LICENSE-3RD-PARTY": GPL3, "LICENSE": MIT}, "MIT"),
        ({"pyproject.toml": manifest("MIT"), "LICENSE": MIT}, "MIT"),
        ({"Cargo.toml": '[package]\nlicense = "MIT OR Apache-2.0"', "LICENSE-MIT": MIT,
          "LICENSE-APACHE": APACHE}, "MIT OR Apache-2.0"),
        ({"LICENSES/MIT.txt": MIT, "LICENSES/Zlib.txt": "cut"}, "MIT AND Zlib"),
        ({"a.py": "#!/usr/bin/python3\n# SPDX-License-Identifier: MIT\n"},
         Licence(spdx="MIT", source="header", permissive=True)),
        ({"a.c": "/* SPDX-License-Identifier: GPL-2.0-only */\n"},
         Licence(spdx="GPL-2.0-only", source="header", permissive=False)),
        ({"a.py": 'print("SPDX-License-Identifier: MIT")\n'}, UNKNOWN),
        ({"a.py": "#\n" * HEADER + "# SPDX-License-Identifier: MIT\n"}, UNKNOWN),
    ],
)  # fmt: skip
def test_where_a_licence_is_found(files: dict[str, str], expected: Licence | str) -> None:
    found = detect(files)
    assert (found.spdx if isinstance(expected, str) else found) == expected


@pytest.mark.parametrize(
    ("said", "text", "expected"),
    [
        ("MIT", GPL3, Licence(spdx="GPL-3.0-only", source="file", permissive=False)),
        ("GPL-3.0-only", MIT, Licence(spdx="GPL-3.0-only", source="manifest", permissive=False)),
        ("GPL-3.0-or-later", GPL3, Licence(spdx="GPL-3.0-or-later", source="manifest", permissive=False)),
        ("MIT", BSD3, Licence(spdx="MIT AND BSD-3-Clause", source="file", permissive=True)),
        ("MIT", "Ours alone.", Licence(spdx="", source="file", permissive=False)),
        ("Proprietary", MIT, Licence(spdx="", source="manifest", permissive=False)),
        ("MIT OR GPL-3.0-only", GPL3, Licence(spdx="GPL-3.0-only", source="file", permissive=False)),
        ("MIT AND GPL-3.0-only", MIT, Licence(spdx="MIT AND GPL-3.0-only", source="manifest")),
        ("BSD", BSD3, Licence(spdx="BSD-3-Clause", source="file", permissive=True)),
    ],
)
def test_where_manifest_and_file_disagree_the_stricter_holds(said: str, text: str, expected: Licence) -> None:
    assert detect({"pyproject.toml": manifest(said), "LICENSE": text}) == expected


def test_a_header_can_only_make_it_stricter() -> None:
    files = {"LICENSE": MIT, "a.c": "// SPDX-License-Identifier: GPL-2.0-only\n"}
    assert detect(files) == Licence(spdx="GPL-2.0-only", source="header", permissive=False)
    assert detect({"LICENSE": GPL3, "a.c": "// SPDX-License-Identifier: MIT\n"}).spdx == "GPL-3.0-only"


def test_what_was_recorded_is_read_back() -> None:
    assert licence("MIT", "manifest") == Licence(spdx="MIT", source="manifest", permissive=True)
    assert licence("MPL-2.0", "declared") == Licence(spdx="MPL-2.0", source="declared")
    assert licence("", "manifest") == UNKNOWN
    assert licence("whatever", "file") == UNKNOWN


def test_a_folder_says_what_its_files_say(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"license": "MIT"}')
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.c").write_text("// SPDX-License-Identifier: MIT\n")
    assert of_folder(tmp_path) == Licence(spdx="MIT", source="manifest", permissive=True)
    assert of_folder(tmp_path / "nowhere") == UNKNOWN
    (tmp_path / "src" / "a.c").write_text("// SPDX-License-Identifier: GPL-2.0-only\n")
    assert of_folder(tmp_path) == Licence(spdx="GPL-2.0-only", source="header", permissive=False)


def test_links_lead_nowhere_outside_and_special_files_are_not_opened(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    root.mkdir()
    outside.write_text(MIT)
    (root / "LICENSE").symlink_to(outside)
    (root / "COPYING").symlink_to("COPYING")
    (root / "UNLICENSE").symlink_to("gone")
    os.mkfifo(root / "package.json")
    (root / "setup.cfg").mkdir()
    assert of_folder(root) == UNKNOWN
    (root / "docs").mkdir()
    (root / "docs" / "mit").write_text(MIT)
    (root / "LICENSE").unlink()
    (root / "LICENSE").symlink_to("docs/mit")
    assert of_folder(root).spdx == "MIT"


def test_reading_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_bytes(b" " * LARGEST + MIT.encode())
    (tmp_path / "COPYING").write_bytes(b"\xff\xfe\0" * 200_000)
    for number in range(300):
        (tmp_path / f"{number}.py").write_text("x = 1\n")
    assert of_folder(tmp_path) == Licence(spdx="", source="file", permissive=False)


def test_it_costs_a_run_next_to_nothing(tmp_path: Path) -> None:
    """About 3 ms on one core of 2024; the bound leaves room for a machine that is busy."""
    (tmp_path / "pyproject.toml").write_text(manifest("Apache-2.0"))
    (tmp_path / "LICENSE").write_text(APACHE)
    for number in range(50):
        (tmp_path / f"{number}.py").write_text("x = 1\n" * 1000)
    seconds = []
    for _ in range(5):
        began = perf_counter()
        assert of_folder(tmp_path).spdx == "Apache-2.0"
        seconds.append(perf_counter() - began)
    assert min(seconds) < 0.05
