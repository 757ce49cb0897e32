"""The commands that people type: ``nox -s quick``, ``nox -s lint``. ``nox --list`` shows all."""

from __future__ import annotations

import nox

nox.options.sessions = ["quick", "lint", "types"]


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that take no longer than a moment; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", "-m", "not slow", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Run all tests; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """Run all tests with the oldest requirements that pyproject.toml admits."""
    session.install("-c", ".ci/oldest.txt", "-e", ".[test,fast]")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[dev]", "-r", ".ci/libraries.txt")
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html, with warnings as errors, and run every code block of its pages."""
    session.install("-e", ".[docs,test]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "docs", "docs/_build/html", *session.posargs)
    session.run("python", "docs/check_links.py", "docs/_build/html")
    session.run(
        "python",
        "-m",
        "pytest",
        "-n",
        "auto",
        "docs",
        "README.md",
        "tests/test_documents.py",
        "tests/test_tutorials.py",
    )


@nox.session
def mutation(session: nox.Session) -> None:
    """Report which changes of the source no test notices; arguments go to benchmarks/mutation.py."""
    session.install("-e", ".[test]")
    session.run("python", "benchmarks/mutation.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time training steps on every device; arguments go to ``xpnet bench``."""
    session.install("-e", ".[fast]", "-r", ".ci/libraries.txt")
    session.run("xpnet", "bench", *session.posargs)
