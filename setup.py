"""The parts of the build that pyproject.toml cannot express: the example project in the wheel, a checkout as a project.

A wheel has one top-level package, migrator. The LibreChat migration (mappings/, schema/) is in it as data. An editable
install makes mappings and schema importable, because a checkout is the project of that migration.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from migrator.config.example import build_example  # noqa: E402


class BuildWithExample(build_py):
    """Builds the Python files, then copies the example project beside them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            build_example(ROOT, Path(self.build_lib) / "migrator")


class BuildInParallel(build_ext):
    """Compiles on all cores, and without debug information, which takes a seventh of the time."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self) -> None:
        if self.compiler.compiler_type == "unix":
            for extension in self.extensions:
                extension.extra_compile_args.append("-g0")
        super().build_extensions()


class EditableProject(editable_wheel):
    """Adds the packages of the checkout's own migration."""

    def run(self) -> None:
        self.distribution.packages = [*self.distribution.packages, *find_packages(include=["mappings*", "schema*"])]
        super().run()


setup(cmdclass={"build_ext": BuildInParallel, "build_py": BuildWithExample, "editable_wheel": EditableProject})
