"""Programs of the JVM from Maven repositories, with all that they need to run."""

from pathlib import Path

from tests.testbed import cache

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>testbed</groupId><artifactId>testbed</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>
  </dependency></dependencies>
</project>
"""


def jars(coordinates: str) -> Path:
    """The folder with the jars of "group:artifact:version" and of what it depends on."""
    group, artifact, version = coordinates.split(":")
    maven = cache.tool("mvn", "maven")

    def build(into: Path) -> None:
        pom = into / "pom.xml"
        pom.write_text(_POM.format(group, artifact, version))
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={into / 'lib'}", "-DincludeScope=runtime"]
        cache.command([maven, "-q", "-B", "-f", str(pom), *goal], cwd=into)

    return cache.built(f"jars-{artifact}", [], coordinates, build) / "lib"
