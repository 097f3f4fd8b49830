"""The build step that copies the example configs and runs into the wheel, as gantrain/shipped."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = (
    "configs/**/*.yaml",
    *(f"checkpoints/digits-classifier/{name}" for name in ("config.yaml", "step_1200/*")),
    *(f"checkpoints/photos-classifier/{name}" for name in ("config.yaml", "data.json", "step_11700/*")),
    *(f"checkpoints/cifar10-sngan/{name}" for name in ("config.yaml", "data.json", "step_*/*")),
)


class BuildWithShippedFiles(build_py):
    def run(self) -> None:
        # An editable install reads all files where they lie.
        if self.editable_mode:
            return super().run()
        # An earlier build's copies of files that are gone or renamed would go into the wheel as well.
        shutil.rmtree(Path(self.build_lib, "gantrain"), ignore_errors=True)
        super().run()
        for source, target in self._shipped():
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target), preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        shipped = [] if self.editable_mode else [str(target) for _, target in self._shipped()]
        return [*super().get_outputs(include_bytecode), *shipped]

    def _shipped(self) -> list[tuple[Path, Path]]:
        """Each file, and its place in the build."""
        files = sorted(file for pattern in SHIPPED for file in Path().glob(pattern))
        return [(file, Path(self.build_lib, "gantrain", "shipped", file)) for file in files]


setup(cmdclass={"build_py": BuildWithShippedFiles})
