"""Says what the text between the fields of image names means, by comparing the names, and writes it as a template.

`name_marks.py` cuts names into fields and text. Here the text of all names is cut into columns. A column that differs
between images of one plate, well and site means something: a site, a plane, or (with few values) a channel. All other
columns become constant text or `*`.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cellassets.fingerprint import KEY_PATTERN
from cellassets.screens.imaging import DNA_STAIN
from cellassets.screens.layouts.name_marks import ENDING, FREE, GUID, SLASH, STAIN, Parts

MAX_CHANNELS = 12
WAVELENGTHS_NM = range(350, 900)
CHUNKS = re.compile(rf"({GUID}|[-_. ]+)")
WORDS = (  # what the word before a number says of it
    ("z", re.compile(r"(?i)z|z?(?:step|plane|slice|stack|level)s?")),
    ("time", re.compile(r"(?i)t|sk|time(?:point)?s?")),
    ("channel", re.compile(r"(?i)ch|channel|wave(?:length)?|filter|laser|ex|em")),
    ("site", re.compile(r"(?i)site|field|fov|pos(?:ition)?|xy|tile|s|f")),
)
SPECIAL = re.compile(r"([.^$*+?{}\[\]|()\\])")


@dataclass(frozen=True)
class Column:
    """One part of all names.

    Attributes:
        field: the field that a mark found; FREE, SLASH or ENDING otherwise.
        values: its text in each name.
        word: the constant word before it in the same name or folder.
    """

    field: str
    values: Sequence[str]
    word: str = ""

    @property
    def n_values(self) -> int:
        """Number of different values."""
        return len(set(self.values))

    @property
    def is_number(self) -> bool:
        """True if all values are numbers that a field can hold."""
        return all(value.isdigit() and len(value) <= 5 for value in set(self.values))

    @property
    def is_few(self) -> bool:
        """True if there are as many values as an experiment can have channels."""
        return 2 <= self.n_values <= MAX_CHANNELS


def template_of(names: Sequence[Parts]) -> str:
    """Returns the template of paths that were cut into the same fields."""
    columns: list[Column] = []
    for parts in zip(*names, strict=True):
        field, values = parts[0][0], [text for _, text in parts]
        columns += _cut(values) if field == FREE else [Column(field, values)]
    roles = _roles(columns)
    texts = [_text(roles.get(number, FREE), column) for number, column in enumerate(columns)]
    template = re.sub(r"\*+", "*", "".join(texts))
    return re.sub(r"\{channel:\[0-9\]\{\d+\}\}(?!\*)", "{channel}", template).replace("[0-9]{1}", "[0-9]")


def plate_field(plates: Sequence[str]) -> str:
    """Returns the template of the plates' names as they are written, which keeps a valid identifier of each plate.

    `Plate 1` and `Plate 2` become `Plate {plate}`. Where no part of the names will do, it is `{plate}`.
    """
    names = sorted(set(plates))
    if all(is_key(name) for name in names):
        return "{plate}"
    if all("__" in name for name in names) and _are_keys([name.partition("__")[0] for name in names]):
        return "{plate:[^/]+?}__{_}"
    before = re.sub(r"[A-Za-z0-9]*$", "", _common_start(names))
    after = re.sub(r"^[A-Za-z0-9]*", "", _common_start([name[len(before) :][::-1] for name in names])[::-1])
    ends = [(before, after)]
    if len(names) == 1:  # the word with a digit is the one that differs between plates
        ends += [(names[0][: found.start()], names[0][found.end() :]) for found in re.finditer(r"\w*\d\w*", names[0])]
    for start, end in ends:
        if _are_keys([name[len(start) : len(name) - len(end)] for name in names]) and not set(start + end) & set("{}*"):
            return f"{start}{{plate}}{end}"
    return "{plate}"


def is_key(name: str) -> bool:
    """Returns true if a name can be a plate's identifier."""
    return KEY_PATTERN.fullmatch(name) is not None and ".." not in name


def _common_start(texts: Sequence[str]) -> str:
    """Returns the characters with which all texts begin."""
    alike = itertools.takewhile(lambda place: len(set(place)) == 1, zip(*texts, strict=False))
    return "".join(place[0] for place in alike)


def _are_keys(names: Sequence[str]) -> bool:
    return all(map(is_key, names)) and len(set(names)) == len(names)


def _cut(values: Sequence[str]) -> list[Column]:
    """Returns the columns of the text at one place of all names: words, numbers, and what separates them."""
    chunks = {value: [chunk for chunk in CHUNKS.split(value) if chunk] for value in set(values)}
    aligned = _aligned(chunks)
    width = len(next(iter(aligned.values())))
    pieces: list[list[str]] = []
    for place in range(width):
        pieces += _by_digits([aligned[value][place] for value in values])
    columns, word = [], ""
    for piece in _merged(pieces):
        columns.append(Column(FREE, piece, word))
        if len(set(piece)) == 1 and re.search("[A-Za-z]", piece[0]):
            word = piece[0]
    return columns


def _aligned(chunks: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    """Returns chunks of equal number: where names have more and fewer, the ones that cannot be paired are joined."""
    if len({len(each) for each in chunks.values()}) == 1:
        return chunks
    n_least = min(map(len, chunks.values()))
    left = _n_alike([each[:n_least] for each in chunks.values()])
    right = _n_alike([each[::-1][: n_least - left] for each in chunks.values()])
    return {
        value: [*each[:left], "".join(each[left : len(each) - right]), *each[len(each) - right :]]
        for value, each in chunks.items()
    }


def _n_alike(names: Sequence[Sequence[str]]) -> int:
    """Returns how many chunks at the beginning are the same text, or numbers, in all names."""
    alike = [len(set(place)) == 1 or all(map(str.isdigit, place)) for place in zip(*names, strict=True)]
    return alike.index(False) if False in alike else len(alike)


def _by_digits(values: list[str]) -> list[list[str]]:
    """Returns words such as L01A01 and L01A02 as words and numbers, where they differ in numbers alone."""
    different = set(values)
    is_one = len(different) == 1 or len({re.sub(r"\d+", "#", value) for value in different}) > 1
    if is_one or any(STAIN.fullmatch(value) or re.fullmatch(GUID, value) for value in different):
        return [values]
    split = {value: [piece for piece in re.split(r"(\d+)", value) if piece] for value in different}
    return [list(place) for place in zip(*(split[value] for value in values), strict=True)]


def _merged(pieces: list[list[str]]) -> list[list[str]]:
    """Returns the pieces with those joined that say one thing, such as `Alexa 488` and `Hoechst 33342`."""
    differing = [number for number, piece in enumerate(pieces) if len(set(piece)) > 1]
    if len(differing) < 2 or all(value.isdigit() for number in differing for value in set(pieces[number])):
        return pieces
    first, last = differing[0], differing[-1] + 1
    joined = ["".join(each) for each in zip(*pieces[first:last], strict=True)]
    n_joined = len(set(joined))
    if n_joined > min(MAX_CHANNELS, len(joined) // 2) or n_joined > max(len(set(pieces[n])) for n in differing):
        return pieces
    return [*pieces[:first], joined, *pieces[last:]]


def _roles(columns: Sequence[Column]) -> dict[int, str]:
    """Returns the field of each column that has one, by its number."""
    roles = {n: column.field for n, column in enumerate(columns) if column.field not in (FREE, SLASH, ENDING)}
    free = [n for n, column in enumerate(columns) if column.field == FREE]
    _drop_constant_channel(columns, roles, free)
    while True:
        groups = _groups(columns, roles)
        differing = [n for n in free if n not in roles and _differs(columns[n].values, groups)]
        chosen = _choose(columns, differing, set(roles.values()))
        if chosen is None:
            break
        roles[chosen[0]] = chosen[1]
    if "channel" not in roles.values():
        stains = (n for n in free if n not in roles and columns[n].n_values == 1 and _is_stain(columns[n]))
        roles |= dict.fromkeys(list(stains)[:1], "channel")
    for n in [n for n, role in roles.items() if role == "z" and columns[n].n_values > 1]:
        others = {number: role for number, role in roles.items() if number != n}
        if not _differs(columns[n].values, _groups(columns, others)):  # it says something else, such as the plate
            del roles[n]
    return roles


def _drop_constant_channel(columns: Sequence[Column], roles: dict[int, str], free: Sequence[int]) -> None:
    """Drops a channel's number that is the same in all names, if stains differ between the images of one site."""
    marked = [n for n, role in roles.items() if role == "channel" and columns[n].n_values == 1]
    groups = _groups(columns, roles)
    if any(not columns[n].is_number and columns[n].is_few and _differs(columns[n].values, groups) for n in free):
        for n in marked:
            del roles[n]


def _groups(columns: Sequence[Column], roles: Mapping[int, str]) -> list[int]:
    """Returns the number of the group of each name; names of one group are the same image by the fields so far."""
    groups = [0] * len(columns[0].values)
    for n in roles:
        numbers: dict[tuple[int, str], int] = {}
        groups = [numbers.setdefault(key, len(numbers)) for key in zip(groups, columns[n].values, strict=True)]
    return groups


def _differs(values: Sequence[str], groups: Sequence[int]) -> bool:
    return len(set(zip(groups, values, strict=True))) > len(set(groups))


def _choose(columns: Sequence[Column], differing: Sequence[int], taken: set[str]) -> tuple[int, str] | None:
    """Returns the column whose meaning is the clearest of those that differ, and that meaning; None if none has one."""
    for n in differing:
        role = _role_by_word(columns[n])
        if role is not None and role not in taken:
            return n, role
    few = [n for n in differing if columns[n].is_few] if "channel" not in taken else []
    texts = sorted((n for n in few if not columns[n].is_number), key=lambda n: (columns[n].n_values, n), reverse=True)
    for candidates in (
        [n for n in texts if _is_stain(columns[n])],
        [n for n in few if _is_wavelength(columns[n])],
        texts,
    ):
        if candidates:
            return candidates[0], "channel"
    numbers = [n for n in differing if columns[n].is_number]
    if numbers and "site" not in taken:
        return numbers[0], "site"
    numbers = [n for n in numbers if n in few]
    return (numbers[0], "channel") if numbers else None


def _role_by_word(column: Column) -> str | None:
    if not column.is_number:
        return None
    return next((role for role, word in WORDS if word.fullmatch(column.word)), None)


def _is_stain(column: Column) -> bool:
    return any(STAIN.fullmatch(value) or DNA_STAIN.search(value) for value in set(column.values))


def _is_wavelength(column: Column) -> bool:
    return column.is_number and all(int(value) in WAVELENGTHS_NM for value in set(column.values))


def _text(role: str, column: Column) -> str:
    """Returns a column as the template has it."""
    different = sorted(set(column.values))
    if role == FREE:
        return different[0] if len(different) == 1 else "*"
    if role == "plate":
        return plate_field(different)
    if role != "channel":
        return f"{{{role}}}"
    if not column.is_number:
        choices = "|".join(SPECIAL.sub(r"\\\1", value) for value in different)
        return f"{{channel:{choices}}}"
    if len({len(value) for value in different}) == 1:  # digits of other numbers can follow
        return f"{{channel:[0-9]{{{len(different[0])}}}}}"
    return "{channel}"
