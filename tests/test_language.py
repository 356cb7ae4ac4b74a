"""Documentation, docstrings, comments and messages are in plain, modern English.

Each pattern is a phrase that readers whose first language is not English stumbled over, with what to write instead. A
line that needs such a phrase for a good reason goes into `ALLOWED`.
"""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("assets", "bench", "cellassets", "configs", "docs", "resources", "scripts", "sensors", "tests")
SUFFIXES = (".md", ".py", ".yaml", ".j2")
UNIT = (
    r"(?:batch|plate|well|site|model|dataset|experiment|gene|guide|channel|class|unit|pair|perturbation|process|tick)"
)
THING = (
    r"(?:row|folder|file|asset|page|sentence|dataset|partition|vector|matrix|bar|line|table|value|score|number|record|"
    r"map|median|mean|array|chunk|class|artefact|source|question|run|pod|claim|field)"
)
COUNTED = "longer|such|more|less|fewer|better|need|other"
REFUSED = {
    r"\bdata sets?\b": "dataset",
    r"\b(?:told|tells?|telling) (?:\w+ ){0,3}(?:apart|from)\b": "distinguished from, compared with",
    r"\b(?:is|are|be|was) told\b(?! (?:to|that|about)\b)": "recognised, predicted; gets the message",
    r"\b(?:hangs?|hung|hanging) on\b": "depends on",
    r"\bas (?:it|they) (?:lies?|stands?)\b": "in its present state, unchanged",
    rf"\b(?:a|an|one|two|each|its) {THING} an? (?!time\b|day\b)[a-z]": "one row per image",
    rf"\b(?:\d+|controls|wells|plates|sites|replicates|guides|seconds|CORAL) an? {UNIT}\b": "per batch",
    r"\bwhat there is\b": "say what it is",
    r"\bnothing of (?:it|what|under)\b": "say what is missing",
    r"\b(?:but for|all but (?:the|its|for|one)|the same but)\b": "except",
    r"\bmend(?:s|ed|ing)?\b": "correct, repair",
    r"\banew\b": "again",
    r"\bdear(?:er)?\b": "expensive, slow",
    r"'s? business\b": "say who does it",
    r"\b(?:lies?|lay) (?:there|beside|on disk|once)\b": "is (in)",
    r"\bcalled (?:as|after|otherwise)\b": "named like, has the name of",
    r"\bso many\b": "that many, this number of",
    r"\bgoes by\b": "follows, uses",
    r"\bholds? up (?:nothing|itself|only)\b": "blocks",
    r"\bpass(?:es)? by\b": "are read",
    r"\bof no account\b": "does not matter",
    rf"(?<![Tt]here )\b(?:is|are|was) no (?!(?:{COUNTED})\b)[a-z]+": "is not a",
    r"\bgiven away\b|\btaken in\b|\bput right\b|\btaken out of\b": "use the plain verb",
    r"\bone by one\b.{0,20}\bby itself\b": "each on its own",
    r"\bin the place of\b": "instead of",
    r"\bwhatever (?:its|their|the) (?:number|order)\b.{0,5}[:;]": "write a sentence",
    r"\bfewest\b|\bmost (?:rows|wells|steps|components) (?:to|that|of)\b": "minimum, maximum number of",
}
ALLOWED: set[tuple[str, str]] = set()  # (file, matched text)


def offences() -> list[tuple[str, int, str, str]]:
    """Returns file, line, matched text and advice."""
    found = []
    files = [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in sorted([*files, *REPOSITORY.glob("*.md"), REPOSITORY / "Makefile"]):
        name = str(path.relative_to(REPOSITORY))
        if path.name in {Path(__file__).name, "configuration.md"}:  # that page repeats docstrings
            continue
        text = path.read_text()
        flat = re.sub(r"\s*\n\s*(?:# )?", lambda gap: " " + "\n" * 0 + " " * (len(gap[0]) - 1), text)  # same length
        for pattern, advice in REFUSED.items():
            for match in re.finditer(pattern, flat):
                matched = re.sub(r"\s+", " ", match[0])
                if (name, matched) not in ALLOWED:
                    found.append((name, text.count("\n", 0, match.start()) + 1, matched, advice))
    return found


def test_no_refused_phrase_is_used():
    found = [f"{name}:{line}: {matched!r}: {advice}" for name, line, matched, advice in sorted(offences())]
    assert not found, "\n".join(found)
