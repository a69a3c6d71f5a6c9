"""QuixBugs: mend one line of a classic algorithm whose tests fail (Lin et al. 2017)."""

from pydantic import Field

from agent.suite_data import Name, SafePath, SuiteRow
from agent.suite_task import Grader, SuiteTask

CHECK_S = 15.0
"""Seconds of one test run: several broken programs never end, and no right one needs three."""

JAVA_S = 90.0
"""The same for Java, its compiler included: a test that never ends is given 3 s by itself."""


class QuixBugsRow(SuiteRow):
    """A row of `quixbugs.jsonl`. Its tests are shown: they are how the defect is told."""

    name: Name
    path: SafePath
    description: str
    buggy: str = Field(min_length=1)
    files: dict[SafePath, str] = Field(min_length=1)
    test_command: str = Field(pattern=r"^python -m pytest ")

    def task(self) -> SuiteTask:
        """The broken program beside its tests."""
        command = f"python3 {self.test_command.removeprefix('python ')}"
        tests = {path: text.encode() for path, text in self.files.items() if path != self.path}
        return SuiteTask(
            suite="quixbugs",
            name=self.name,
            language="py",
            prompt=f"{self.path} has a defect, its tests fail. Repair it. It should: {self.description}",
            files={**tests, self.path: self.buggy.encode()},
            answers=(self.path,),
            grader=Grader(command, tests, timeout_s=CHECK_S),
            checks=(command,),
        )


class QuixBugsJavaRow(SuiteRow):
    """A row of `quixbugs_java.jsonl`."""

    name: Name
    path: SafePath
    description: str
    buggy: str = Field(min_length=1)
    files: dict[SafePath, str] = Field(min_length=1)

    def task(self) -> SuiteTask:
        """The broken program beside its JUnit tests, which the image's own `junit` runs."""
        tests = {path: text.encode() for path, text in self.files.items() if path != self.path}
        return SuiteTask(
            suite="quixbugs_java",
            name=self.name,
            language="java",
            prompt=f"{self.path} has a defect, its tests fail. Repair it. It should: {self.description}",
            files={**tests, self.path: self.buggy.encode()},
            answers=(self.path,),
            grader=Grader("junit", tests, image="java", timeout_s=JAVA_S),
            checks=("junit",),
        )
