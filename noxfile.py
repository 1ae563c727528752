"""What there is to run: ``nox -l`` lists it, ``nox -s NAME`` runs one. CONTRIBUTING.md says when to use which."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.reuse_venv = "yes"
nox.options.sessions = ["check"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
DISTRIBUTIONS = (
    "zaqar_core",
    "conformance",
    "plugins/zaqar-openstack",
    "plugins/zaqar-opentelemetry",
    "plugins/zaqar-redis",
    "plugins/zaqar-sqlite",
    "plugins/zaqar-swift",
    "plugins/zaqar-zstd",
)
APART = {
    "openstack-redis": "plugins/zaqar-openstack",
    "openstack-redis-small": "plugins/zaqar-openstack",
}
"""Other people's drivers: targets that the suite finds at fault, and that bring much, each with its distribution.

It is installed for its target alone, and tested there; ``check`` lints it and checks its types.
"""
TARGETS = (
    *("sqlite", "redis", "redis-always", "redis-cluster", "redis-sentinel"),
    *("swift", "swift-coordinated", "swift-replicated", "swift-failing", "memory"),
)
IN_CHECK = ("sqlite", "redis", "memory")
"""Those that every change is tried on; CI has cells for all."""
SERVERS = {
    target: f"{family}-servers" for family in ("redis", "swift") for target in TARGETS if target.startswith(family)
} | {"swift-coordinated": "swift-and-redis-servers"}
"""The dependency group that brings a target's server, for where the machine has none."""
PARALLEL = ("-n", "auto", "--dist", "loadfile", "--max-worker-restart", "0")
"""How pytest runs: a file to one process, since the code blocks of a page follow one another. A process that crashes
ends the run; with a new one in its place, pytest-xdist may wait without end."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Any of these will do, with chromedriver."""


@nox.session
def demo(session: nox.Session) -> None:
    """The main job: prove the embedded backend by the conformance suite, and write the report to reports/sqlite."""
    install(session)
    run_suite(session, "sqlite")


@nox.session
def check(session: nox.Session) -> None:
    """Everything that CI asks of a change: lint, types, docs, tests, the suite, coverage."""
    install(session, "lint", "types", "docs", "tests")
    install_browser(session)
    run_lint(session)
    run_types(session)
    run_docs(session)
    run_tests(session)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, the documentation's code blocks, the suite; coverage. With arguments: pytest alone, with them."""
    install(session, "tests")
    install_browser(session)
    run_tests(session)


@nox.session
@nox.parametrize("target", (*TARGETS, *APART), ids=(*TARGETS, *APART))
def conformance(session: nox.Session, target: str) -> None:
    """The conformance suite on one target, at ``$ZAQAR_URI`` if set. Arguments go to ``zaqar-conformance run``."""
    if target in APART:
        run_apart(session, target)
        return
    uri = os.environ.get("ZAQAR_URI")
    install(session, *([SERVERS[target]] if target in SERVERS and not uri else []))
    run_suite(session, target, uri or target)


@nox.session
def lowest(session: nox.Session) -> None:
    """With the lowest dependencies: the tests of the backend with a server, and the suite on it."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("\n".join(lowest_pins()), encoding="utf-8")
    install(session, "tests", constraints=constraints)
    session.run("pytest", "plugins/zaqar-redis", *session.posargs)
    for target in ("redis", "redis-cluster"):
        session.run("zaqar-conformance", "run", target, "--report", f"reports/{target}-lowest")


@nox.session
def keystone(session: nox.Session) -> None:
    """The tests of zaqar-swift that log in at a real Keystone, which brings much."""
    install(session, "swift-keystone", "apart-tests")
    # The warnings are others'.
    session.run("pytest", "-W", "default", "plugins/zaqar-swift/tests/test_swift_keystone.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting (ruff), and who may import whom (import-linter)."""
    install(session, "lint")
    run_lint(session)


@nox.session
def types(session: nox.Session) -> None:
    """Types of source and tests: mypy --strict."""
    install(session, "types", "tests")
    run_types(session)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, warnings being errors, to docs/_build."""
    install(session, "docs")
    run_docs(session)


@nox.session
def table(session: nox.Session) -> None:
    """Run the suite on every target, and write the capability table of README.md from the reports."""
    install(session, *sorted(set(SERVERS.values())))
    for target in TARGETS:
        run_suite(session, target)
    session.run("python", "docs/tools/capability_table.py", *(f"reports/{target}/report.json" for target in TARGETS))


@nox.session
def kill_table(session: nox.Session) -> None:
    """Run every mutant, and the suite on right drivers, 20 times each, and write docs/kill-table.md. For nights."""
    install(session, "redis-servers")
    controls = [f"--control={target}" for target in IN_CHECK]
    arguments = session.posargs or ["--repeat", "20", *controls, "--markdown", "docs/kill-table.md"]
    session.run("zaqar-conformance", "mutants", *arguments)


@nox.session
def build(session: nox.Session) -> None:
    """Build every distribution to dist/, then use the wheels elsewhere, with the newest and the lowest dependencies."""
    session.install(*group("build"))
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for distribution in DISTRIBUTIONS:
        session.run("python", "-m", "build", "--outdir", "dist", distribution, silent=True)
    artefacts = sorted(str(path) for path in (ROOT / "dist").iterdir())
    session.run("twine", "check", "--strict", *artefacts)
    for resolution in ("newest", "lowest"):
        try_wheels(session, resolution)


@nox.session
def release(session: nox.Session) -> None:
    """Make the release of a tag ready in dist/release: check the tag, build, try the wheel. -- zaqar-core-0.1.0"""
    session.install(*group("build"))
    session.run("python", "tools/release.py", *session.posargs)


@nox.session
def rehearsal(session: nox.Session) -> None:
    """Release everything, as it stands, to a package index of this machine, and use it from there."""
    session.install(*group("build"))
    session.run("python", "tools/rehearsal.py")


# --- what the sessions are made of --------------------------------------------------------------------------------


def group(*names: str) -> list[str]:
    """The requirements of dependency groups of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, *names))


def install(session: nox.Session, *groups: str, constraints: Path | None = None, apart: str = "") -> None:
    """Install every distribution, editable, of those apart just the one named, and the tools of the groups."""
    wanted = [each for each in DISTRIBUTIONS if each not in APART.values() or each == apart]
    editable = [part for distribution in wanted for part in ("-e", distribution)]
    session.install(*editable, *group(*groups), *(["-c", str(constraints)] if constraints else []))


def install_browser(session: nox.Session) -> None:
    """Chromium, which tests look at reports with, from Debian's packages; where that cannot be, the tests say so."""
    there = shutil.which("chromedriver") and any(map(shutil.which, BROWSERS))
    if there or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    session.run_install("apt-get", "update", "-q", external=True)
    packages = ["apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium", "chromium-driver"]
    session.run_install(*packages, external=True, env={"DEBIAN_FRONTEND": "noninteractive"}, success_codes=[0, 100])


def run_suite(session: nox.Session, target: str, where: str | None = None) -> None:
    session.run("zaqar-conformance", "run", where or target, "--report", f"reports/{target}", *session.posargs)


def run_apart(session: nox.Session, target: str) -> None:
    """The suite on somebody else's driver: what it finds there is no failure, but not to find it is."""
    report = f"reports/{target}"
    install(session, "redis-servers", "apart-tests", apart=APART[target])
    program = "from zaqar_conformance.servers import redis_program; print(redis_program())"
    env = {"ZAQAR_REDIS_SERVER": str(session.run("python", "-c", program, silent=True)).strip()}
    command = ("zaqar-conformance", "run", target, "--profile", "data", "--report", report, *session.posargs)
    session.run(*command, env=env, success_codes=[0, 1])
    if not session.posargs:
        env["ZAQAR_REPORT"] = str(ROOT / report / "report.json")
        session.run("pytest", "-W", "default", f"{APART[target]}/tests", env=env)  # the warnings are others'


def run_lint(session: nox.Session) -> None:
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    sources = os.pathsep.join(f"{each}/src" for each in APART.values())  # they are not installed here
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": sources})
    workflows = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(".github/workflows/*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


def run_types(session: nox.Session) -> None:
    # One run a distribution: each has a folder tests/, and mypy takes modules of one name for one module.
    for distribution in DISTRIBUTIONS:
        folders = [path for path in (ROOT / distribution / "src", ROOT / distribution / "tests") if path.is_dir()]
        session.run("mypy", *(str(path.relative_to(ROOT)) for path in folders))
    session.run("mypy", "noxfile.py", "conftest.py", "docs", "tests", "tools")


def run_docs(session: nox.Session) -> None:
    session.run("sphinx-build", "-W", "-n", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html")


def run_tests(session: nox.Session) -> None:
    for target, distribution in APART.items():
        session.log(f"not here, but in nox -s 'conformance({target})': the tests of {distribution}")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or PARALLEL))
    if not session.posargs:
        for target in IN_CHECK:  # the checks and the backends are proven by each other
            session.run("coverage", "run", "-m", "zaqar_conformance", "run", target, "--report", f"reports/{target}")
    session.run("coverage", "combine", "-q")
    for fragment in ROOT.glob(".coverage.*"):  # of processes that checks killed
        fragment.unlink()
    session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


def try_wheels(session: nox.Session, resolution: str) -> None:
    """Install the wheels from dist/ into a clean environment outside the checkout, and use them there."""
    wheels = {path.name.partition("-")[0]: str(path) for path in (ROOT / "dist").glob("*.whl")}
    with tempfile.TemporaryDirectory(prefix="zaqar-wheels-") as folder:
        python = f"{folder}/venv/bin/python"
        session.run("virtualenv", "-q", f"{folder}/venv")
        session.chdir(folder)

        def pip_install(*wanted: str) -> None:
            pins = lowest_pins() if resolution == "lowest" else []
            Path("constraints.txt").write_text("\n".join(pins), encoding="utf-8")
            arguments = ["-q", "--find-links", str(ROOT / "dist"), "-c", "constraints.txt", *wanted]
            session.run(python, "-m", "pip", "install", *arguments, external=True)

        session.log(f"an application: zaqar-core and one backend, {resolution} dependencies")
        pip_install(wheels["zaqar_core"], wheels["zaqar_sqlite"])
        session.run(python, "-I", "-W", "error", str(ROOT / "tools/trials/try_zaqar_sqlite.py"), external=True)
        session.log(f"a backend with a server, an observer and a codec, {resolution} dependencies")
        for name in ("zaqar_redis", "zaqar_swift", "zaqar_opentelemetry", "zaqar_zstd"):
            pip_install(wheels[name])
            session.run(python, "-I", "-W", "error", str(ROOT / f"tools/trials/try_{name}.py"), external=True)
        session.log(f"a driver author: the suite from its wheel, {resolution} dependencies")
        pip_install(wheels["zaqar_conformance"])
        session.run(f"{folder}/venv/bin/zaqar-conformance", "run", "sqlite", "--report", "report", external=True)
        session.run(python, "-m", "pip", "check", external=True)
        session.chdir(ROOT)


def lowest_pins() -> list[str]:
    """The lowest version that each distribution's own ranges allow, as constraints: ``name==version``."""
    from packaging.requirements import Requirement

    ours = {nox.project.load_toml(ROOT / path / "pyproject.toml")["project"]["name"] for path in DISTRIBUTIONS}
    pins = set()
    for path in DISTRIBUTIONS:
        project = nox.project.load_toml(ROOT / path / "pyproject.toml")["project"]
        extras = project.get("optional-dependencies", {}).values()
        for text in [*project.get("dependencies", []), *(one for extra in extras for one in extra)]:
            requirement = Requirement(text)
            lows = [spec.version for spec in requirement.specifier if spec.operator in (">=", "~=", "==")]
            if requirement.name not in ours and lows:
                pins.add(f"{requirement.name}=={lows[0]}")
    return sorted(pins)
