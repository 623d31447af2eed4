"""What a run of the kit found, for people's programs: JSON and JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree

from msgspec import Struct

from .case import Result


class Speed(Struct, frozen=True, kw_only=True):
    """Median seconds of a verb's calls that succeeded, as the host saw them. Reported, and not judged."""

    calls: int
    median: float


class Report(Struct, frozen=True, kw_only=True):
    """A run of the kit over one script."""

    script: str
    #: the file that was run
    path: str
    ok: bool
    results: list[Result]
    speed: dict[str, Speed]
    #: what was not as it would be on a real host
    notes: list[str]
    seconds: float

    def counted(self, verdict: str) -> int:
        return sum(result.verdict == verdict for result in self.results)

    def junit(self) -> bytes:
        """The report as JUnit XML: one test suite, a test case for each case."""
        suite = ElementTree.Element(
            "testsuite", name=f"vifplug conform {self.script}", tests=str(len(self.results)),
            failures=str(self.counted("failed")), skipped=str(self.counted("not applicable")), errors="0",
            time=f"{self.seconds:.3f}",
        )  # fmt: skip
        for result in self.results:
            entry = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"conformance.{result.topic}",
                name=result.name,
                time=f"{result.seconds:.3f}",
            )
            if result.verdict == "failed":
                ElementTree.SubElement(entry, "failure", message=_xml(result.reason)).text = _xml(
                    explained(result)
                )
            elif result.verdict == "not applicable":
                ElementTree.SubElement(entry, "skipped", message=_xml(result.reason))
        root = ElementTree.Element("testsuites")
        root.append(suite)
        ElementTree.indent(root)
        text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        return text + b"\n"


def explained(result: Result) -> str:
    """A case that failed, in some lines: what was asked, what came, what the contract says."""
    lines = [f"{result.name}: {result.title}", *_indented("", result.reason)]
    for label, text in (("asked", result.asked), ("came", result.came)):
        if text:
            lines += _indented(f"{label}: ", text)
    lines += _indented("contract: ", f"“{result.sentence}” (docs/contract.md#{result.anchor})")
    return "\n".join(lines)


def _indented(label: str, text: str) -> list[str]:
    first, *rest = text.splitlines() or [""]
    return [f"    {label}{first}", *(f"      {line}" for line in rest)]


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 cannot carry."""
    return "".join(
        c if c in "\t\n\r" or " " <= c < "\ud800" or "\ue000" <= c < "\ufffe" or c > "\uffff" else "�"
        for c in text
    )
