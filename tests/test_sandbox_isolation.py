"""Which isolation is chosen, what counts as proof of it, and which engine versions have known escapes."""

import gzip
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from agent.doctor import Subject, check_isolation
from agent.errors import ENVIRONMENT, exit_code_of
from agent.session import docker_sandboxes
from agent.settings import directories, load
from sandbox.advisories import RUNC, _parse, describe, known_escapes
from sandbox.client import connect
from sandbox.docker import DockerSandbox
from sandbox.errors import IsolationMissing, WeakerThanAsked
from sandbox.images import recipe
from sandbox.isolation import Engine, Isolation, choose, refuse_dropped, refuse_weaker
from sandbox.protocol import SandboxLimits
from tests.containment_kit import LIMITS, pack

PLAIN = Engine(
    runtimes={"runc": "runc", "io.containerd.runc.v2": ""},
    default="runc",
    userns=False,
    rootless=False,
    kernel="6.1.0-40-amd64",
    cgroup="2",
    limits={"memory": True, "swap": True, "processes": True, "CPU": True},
    builds={"runc": ("1.1.5+ds1", "1.1.5+ds1-1+deb12u1")},
)
"""As `docker info` of Debian 12 tells."""
GVISOR = replace(PLAIN, runtimes={**PLAIN.runtimes, "runsc": "/usr/bin/runsc", "a-runsc-kvm": "/opt/runsc"})
REMAPPED = replace(PLAIN, userns=True)
IDENTITY = b"         0          0 4294967295\n"
MAPPED = b"         0    1000000      65536\n"
HOST = b"Linux version 6.1.0-40-amd64 (debian-kernel@lists.debian.org) #1 SMP\n"
SENTRY = b"Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n"


@pytest.mark.parametrize(
    ("engine", "wanted", "runtime", "level", "chosen"),
    [
        (PLAIN, "auto", "", "container", "runc"),
        (PLAIN, "container", "", "container", "runc"),
        (REMAPPED, "auto", "", "userns", "runc"),
        (REMAPPED, "userns", "", "userns", "runc"),
        (GVISOR, "auto", "", "gvisor", "runsc"),
        (GVISOR, "gvisor", "", "gvisor", "runsc"),
        (GVISOR, "gvisor", "a-runsc-kvm", "gvisor", "a-runsc-kvm"),
        (GVISOR, "container", "", "container", "runc"),
        (GVISOR, "auto", "runc", "container", "runc"),
        (replace(GVISOR, default="a-runsc-kvm"), "auto", "", "gvisor", "a-runsc-kvm"),
        (replace(PLAIN, runtimes={"runc": "", "fast": "io.runsc.v1"}), "auto", "", "gvisor", "fast"),
        (replace(PLAIN, rootless=True), "userns", "", "userns", "runc"),
    ],
)  # fmt: skip
def test_the_strongest_or_the_required_is_chosen(
    engine: Engine, wanted: str, runtime: str, level: str, chosen: str
) -> None:
    found = choose(engine, wanted, runtime)  # type: ignore[arg-type]
    assert (found.level, found.runtime) == (level, chosen)
    assert found.needs_proof == (level != "container")


@pytest.mark.parametrize(
    ("engine", "wanted", "runtime", "told"),
    [
        (PLAIN, "gvisor", "", "no gVisor"),
        (REMAPPED, "gvisor", "", "no gVisor"),
        (GVISOR, "gvisor", "runc", "'runc' is no gVisor"),
        (PLAIN, "userns", "", "no user namespaces"),
        (GVISOR, "userns", "runc", "no user namespaces"),
        (PLAIN, "auto", "kata", "no runtime 'kata'; it has: io.containerd.runc.v2, runc"),
        (PLAIN, "gvisor", "runsc", "no runtime 'runsc'"),
    ],
)
def test_what_is_required_and_missing_is_never_replaced(
    engine: Engine, wanted: str, runtime: str, told: str
) -> None:
    with pytest.raises(IsolationMissing) as caught:
        choose(engine, wanted, runtime)  # type: ignore[arg-type]
    assert told in str(caught.value)
    assert caught.value.hint
    assert exit_code_of(caught.value) == ENVIRONMENT


def test_an_engine_that_keeps_no_limits_is_refused() -> None:
    for name in ("memory", "processes", "CPU"):
        with pytest.raises(WeakerThanAsked, match=f"cannot limit: {name}"):
            choose(replace(PLAIN, limits={**PLAIN.limits, name: False}))
    assert choose(replace(PLAIN, limits={**PLAIN.limits, "swap": False})).level == "container"


def test_a_level_is_proven_from_inside() -> None:
    gvisor, userns, plain = choose(GVISOR), choose(REMAPPED), choose(PLAIN)
    assert gvisor.has_own_kernel(SENTRY + IDENTITY)
    assert not userns.has_own_kernel(HOST + MAPPED)
    assert not plain.has_own_kernel(HOST + IDENTITY)
    for isolation, told in (
        (gvisor, HOST + IDENTITY),
        (gvisor, b""),
        (userns, HOST + IDENTITY),
        (userns, b""),
    ):
        with pytest.raises(WeakerThanAsked) as caught:
            isolation.has_own_kernel(told)
        assert exit_code_of(caught.value) == ENVIRONMENT


def test_what_the_engine_dropped_or_added_is_named() -> None:
    refuse_dropped(["Your kernel does not support swap limit capabilities. Memory limited without swap."])
    asked = {"Memory": 64, "Tmpfs": {"/work": "size=1"}, "LogConfig": {"Type": "none"}, "MemorySwap": 64}
    made = {**asked, "LogConfig": {"Type": "none", "Config": {}}, "Privileged": False, "Binds": None}
    good = {"HostConfig": made, "Config": {"User": "1"}}
    refuse_weaker(asked, "1", good)
    refuse_weaker(asked, "1", {**good, "HostConfig": {**made, "MemorySwap": -1}})
    for change, told in (
        ({"Memory": 0}, "Memory is 0, not 64"),
        ({"Tmpfs": {"/work": ""}}, "Tmpfs is"),
        ({"Privileged": True}, "Privileged is True"),
        ({"Binds": ["/:/host"]}, "Binds is"),
        ({"LogConfig": {"Type": "json-file"}}, "LogConfig is"),
    ):
        with pytest.raises(WeakerThanAsked) as caught:
            refuse_weaker(asked, "1", {**good, "HostConfig": {**made, **change}})
        assert told in str(caught.value)
    with pytest.raises(WeakerThanAsked, match="its user is '0'"):
        refuse_weaker(asked, "1", {**good, "Config": {"User": "0"}})


NOVEMBER = {"CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"}


@pytest.mark.parametrize(
    ("version", "open_"),
    [
        ("1.0-rc6", {"CVE-2019-5736", "CVE-2021-30465", *NOVEMBER}),
        ("1.0.0-rc93", {"CVE-2021-30465", "CVE-2024-21626", *NOVEMBER}),
        ("1.1.11", {"CVE-2024-21626", *NOVEMBER}),
        ("1.1.12", NOVEMBER),
        ("1.2.7", NOVEMBER),
        ("1.2.8", set()),
        ("1.3.2", NOVEMBER),
        ("1.3.3", set()),
        ("1.4.0-rc.2", NOVEMBER),
        ("v1.4.0-rc.3", set()),
        ("1.4.0", set()),
        ("1.5.1", set()),
    ],
)  # fmt: skip
def test_versions_with_known_escapes(version: str, open_: set[str]) -> None:
    assert {advisory.cve for advisory in RUNC if advisory.affects(_parse(version))} == open_
    build, known = known_escapes(isolated({"runc": (version, "v1-0-gabcdef0")}))
    assert build == f"runc {version}"
    assert {one.advisory.cve for one in known} == open_
    assert {one.state for one in known} <= {"open"}
    assert bool(describe(build, known)) == bool(open_)


def isolated(builds: Mapping[str, tuple[str, str]], runtime: str = "runc") -> Isolation:
    return Isolation("container", runtime, replace(PLAIN, builds=builds))


def test_a_distributions_build_is_judged_by_its_own_changelog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    (tmp_path / "runc").mkdir()
    log = tmp_path / "runc" / "changelog.Debian.gz"

    def states() -> dict[str, str]:
        _, known = known_escapes(choose(PLAIN), tmp_path)
        return {one.advisory.cve: one.state for one in known}

    assert set(states().values()) == {"unknown"}  # no changelog: nothing here tells
    log.write_bytes(
        gzip.compress(b"runc (1.1.5+ds1-1+deb12u1) bookworm-security\n\n  * CVE-2024-21626: fds\n")
    )
    assert states() == {
        "CVE-2024-21626": "fixed",
        "CVE-2025-31133": "open",
        "CVE-2025-52565": "open",
        "CVE-2025-52881": "open",
    }
    told = describe(*known_escapes(choose(PLAIN), tmp_path))
    assert "1.1.5+ds1-1+deb12u1" in told
    assert "CVE-2024-21626" not in told
    assert "1.2.8, 1.3.3, 1.4.0-rc.3" in told
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2376")  # this machine's packages do not tell of it
    assert set(states().values()) == {"unknown"}
    monkeypatch.delenv("DOCKER_HOST")
    for other in (gzip.compress(b"runc (1.1.5+ds1-2) sid\n\n  * CVE-2024-21626\n"), b"\x1f\x8bbroken"):
        log.write_bytes(other)  # of another build, or no archive
        assert set(states().values()) == {"unknown"}


def test_other_runtimes_and_engines_that_tell_no_version_are_not_judged() -> None:
    assert known_escapes(choose(GVISOR)) == ("", [])
    assert known_escapes(isolated({"runc": ("1.0.0", "")}, "crun")) == ("", [])
    assert known_escapes(isolated({})) == ("", [])
    assert known_escapes(isolated({"runc": ("unknown", "")})) == ("", [])


def test_a_repository_cannot_choose_its_isolation(tmp_path: Path) -> None:
    (tmp_path / ".adi").mkdir()
    (tmp_path / ".adi" / "config.toml").write_text('[sandbox]\nisolation = "container"\nruntime = "runc"\n')
    loaded = load(tmp_path, environ={"ADI_SANDBOX__ISOLATION": "gvisor", "ADI_HOME": str(tmp_path / "home")})
    assert (loaded.settings.sandbox.isolation, loaded.settings.sandbox.runtime) == ("gvisor", "")
    assert [w for w in loaded.warnings if "sandbox.isolation is refused" in w]
    assert [w for w in loaded.warnings if "sandbox.runtime is refused" in w]


@pytest.mark.container
def test_the_real_engine_is_described_and_the_doctor_tells_it() -> None:
    with closing(connect()) as client:
        engine = Engine.ask(client)
        info = client.info()
    assert engine.default in engine.runtimes
    assert engine.kernel == info["KernelVersion"]
    assert all(engine.limits[name] for name in ("memory", "processes", "CPU"))
    found = check_isolation(Subject(load().settings, directories()))
    assert found.status in ("pass", "warn")
    assert found.detail.startswith(str(choose(engine)))
    build, known = known_escapes(choose(engine))
    assert (found.status == "warn") == bool(describe(build, known) or not engine.limits["swap"])
    required = load(None, {"sandbox": {"runtime": "none-such"}}).settings
    told = check_isolation(Subject(required, directories()))
    assert (told.status, bool(told.fix)) == ("fail", True)


@pytest.mark.container
def test_what_the_settings_ask_for_reaches_the_container(client: docker.APIClient) -> None:
    said: list[str] = []
    with pytest.raises(IsolationMissing):
        docker_sandboxes(load(None, {"sandbox": {"runtime": "none-such"}}).settings, said.append, "python")
    docker_sandboxes(load(None, {"sandbox": {"runtime": "runc"}}).settings, said.append, "python")
    assert said[0].startswith("isolation: containers (runc")
    chosen = choose(Engine.ask(client), "container", "runc")
    with DockerSandbox(
        pack({"a": b""}), image=recipe("python").tag, run_id="test-runtime", limits=LIMITS, client=client,
        isolation=chosen,
    ) as box:  # fmt: skip
        assert box.run("true", timeout_s=20).status == "ok"
        found = client.containers(filters={"label": "adi.run=test-runtime"})
        details = [client.inspect_container(one["Id"])["HostConfig"] for one in found]
        assert {one["Runtime"] for one in details} == {"runc"}
        assert {one["PidsLimit"] for one in details} == {LIMITS.pids}


@pytest.fixture
def client() -> docker.APIClient:
    with closing(connect()) as found:
        yield found


def test_gvisors_own_threads_are_allowed_for() -> None:
    pids = SandboxLimits().pids
    assert choose(PLAIN).tasks(pids) == pids
    assert choose(GVISOR).tasks(pids) >= 10 * pids
