"""Maps the top-level folders runtime, passes and backends into the one package that is installed: qir."""

from setuptools import find_packages, setup

# qir/<name> is a symlink in a checkout, and may be a text file in an archive
LINKED = ("runtime", "passes", "backends")

packages = find_packages(
    include=["qir", "qir.*"], exclude=[p for n in LINKED for p in (f"qir.{n}", f"qir.{n}.*")]
)
package_dir = {"qir": "qir"}
for name in LINKED:
    package_dir[f"qir.{name}"] = name
    packages += [f"qir.{name}", *(f"qir.{name}.{sub}" for sub in find_packages(name))]

setup(packages=sorted(packages), package_dir=package_dir)
