"""What runs inside the container that installs dependencies: shell text, and the only variables it gets."""

from typing import Final

from sandbox.container import Container
from sandbox.egress import SOCKET
from sandbox.errors import PrepareFailed
from sandbox.prepared import DEPS, PYTHON
from sandbox.registries import Registries

_PORT: Final = 3128
_PROXY: Final = f"http://127.0.0.1:{_PORT}"
_CA: Final = "/work/ca.pem"
_TMP: Final = f"{DEPS}/.tmp"

_FORWARD = f"""
mkdir -p {_TMP}
socat TCP-LISTEN:{_PORT},bind=127.0.0.1,fork,reuseaddr,backlog=64 UNIX-CONNECT:"$ADI_GATE" 2>/dev/null &
tries=0
until socat -u /dev/null TCP:127.0.0.1:{_PORT} 2>/dev/null; do
    tries=$((tries + 1)); [ $tries -lt 50 ] || {{ echo 'no forwarder'; exit 1; }}; sleep 0.1
done
"""

# A test runner that the image itself has would start the image's interpreter, which lacks the packages.
_RUNNERS = f"""
for name in pytest py.test pytest-3 python3-coverage; do
    if [ -f /usr/bin/$name ] && [ ! -e {PYTHON}/bin/$name ]; then
        sed '1s|.*|#!{PYTHON}/bin/python3|' /usr/bin/$name > {PYTHON}/bin/$name
        chmod 755 {PYTHON}/bin/$name
    fi
done
"""

_PIP = f"""{_FORWARD}
python3 -m venv --system-site-packages --without-pip {PYTHON}
pip="{PYTHON}/bin/python3 -m pip install --quiet --no-warn-script-location"
[ ! -s hashed.txt ] || $pip --require-hashes -r hashed.txt 2>&1
[ ! -s plain.txt ] || $pip -r plain.txt -c constraints.txt 2>&1
{_RUNNERS}
{PYTHON}/bin/python3 -m pip list --local --format=freeze 2>/dev/null | head -n 500
rm -rf {_TMP}
"""

_NPM = f"""{_FORWARD}
cp package.json {DEPS}/
for lock in npm-shrinkwrap.json package-lock.json; do [ ! -f $lock ] || cp $lock {DEPS}/; done
cd {DEPS}
if [ -f npm-shrinkwrap.json ] || [ -f package-lock.json ]; then npm ci 2>&1; else npm install 2>&1; fi
mkdir -p {DEPS}/node_modules
rm -rf {_TMP}
"""

INSTALL: Final = {"pypi": _PIP, "npm": _NPM}

PROJECT: Final = f"""
mkdir -p {_TMP}
export TMPDIR={_TMP} SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0 PDM_BUILD_SCM_VERSION=0.0.0
{PYTHON}/bin/python3 -m pip install --quiet --no-warn-script-location --no-index --no-deps \\
    --no-build-isolation --use-pep517 --disable-pip-version-check --no-cache-dir -e /work 2>&1 || failed=1
if [ -n "$failed" ] && [ -d src ]; then
    for site in {PYTHON}/lib/python3*/site-packages; do echo /work/src > $site/adi_src.pth; done
fi
rm -rf {_TMP}
[ -z "$failed" ]
"""


def environment(kind: str, registries: Registries, gate: str) -> dict[str, str]:
    """Variables of the installers, beside those that every command gets. Nothing of the host's."""
    common = {
        "ADI_GATE": f"{gate}/{SOCKET}",
        "TMPDIR": _TMP,
        "SSL_CERT_FILE": _CA,
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _PROXY),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
    }
    own = {
        "pypi": {
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": registries.indexes.get("pypi", ""),
            "PIP_CERT": _CA,
            "PIP_NO_INPUT": "1",
            "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_PROGRESS_BAR": "off",
            "PIP_RETRIES": "2",
            "PIP_TIMEOUT": "30",
            "PYTHONDONTWRITEBYTECODE": "",
        },
        "npm": {
            "npm_config_registry": registries.indexes.get("npm", ""),
            "npm_config_userconfig": "/dev/null",
            "npm_config_globalconfig": "/dev/null/none",
            "npm_config_cafile": _CA,
            "npm_config_cache": f"{_TMP}/npm",
            "npm_config_ignore_scripts": "true",
            "npm_config_audit": "false",
            "npm_config_fund": "false",
            "npm_config_update_notifier": "false",
            "npm_config_progress": "false",
            "npm_config_loglevel": "error",
            "npm_config_proxy": _PROXY,
            "npm_config_https_proxy": _PROXY,
            "npm_config_noproxy": "",
            "npm_config_fetch_retries": "2",
        },
    }[kind]
    return common | own


def gate_is_open(container: Container, path: str) -> bool:
    """True when the proxy's socket can be reached from inside. Raises PrepareFailed when socat is missing."""
    found = container.script(
        "command -v socat >/dev/null || { echo no; exit 0; }; "
        'socat -u /dev/null "UNIX-CONNECT:$1" 2>/dev/null && echo yes || echo closed',
        path,
    )
    if found.strip() == b"no":
        raise PrepareFailed(
            "the sandbox image has no socat, which the installing step needs",
            "make it anew: adi doctor --fix",
        )
    return found.strip() == b"yes"
