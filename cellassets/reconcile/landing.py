"""The landing zone: which experiments are complete, which are not yet, and which entries are ignored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from upath import UPath

if TYPE_CHECKING:
    from cellassets.screens.landing import LandedExperiment
    from cellassets.screens.landing_readings import Readings

Seen = tuple[str, str]  # the signature of a folder, and the time when it was first seen with it
VOUCHED = datetime.min.replace(tzinfo=UTC).isoformat()  # in place of that time: the marker says that it is complete


@dataclass(frozen=True)
class Landing:
    """The landing zone at one moment.

    Attributes:
        complete: experiments that can be checked and stored, by name.
        waiting: for each experiment that is not complete yet, the reason.
        ignored: for each entry that is not an experiment, the reason.
        first_seen: for each folder that is not published in its present state, the signature of its content, and the
            time when this was first seen; `VOUCHED` if its marker, metadata or `experiment.yaml` was written since the
            state before.
    """

    complete: Mapping[str, "LandedExperiment"]
    waiting: Mapping[str, str]
    ignored: Mapping[str, str]
    first_seen: dict[str, Seen] = field(default_factory=dict)

    @classmethod
    def scan(
        cls,
        landing: UPath,
        *,
        first_seen: Mapping[str, Seen],
        now: datetime,
        quiet: timedelta,
        published: Callable[[str], str | None] = lambda _name: None,
        readings: "Readings | None" = None,
    ) -> "Landing":
        """Returns the landing zone as it is now.

        Args:
            landing: its folder or URL.
            first_seen: `first_seen` of the previous scan, empty at the first.
            now: the time of this scan, with a time zone.
            quiet: a folder without the marker `_COMPLETE`, or with changes behind it, is complete after this long
                without a change.
            published: returns the signature of the content of which an experiment's manifest was published, or None.
            readings: what earlier scans have read, after `begin`; by default everything is read.
        """
        from cellassets.screens.landing import DOUBLED_NAME, doubled_names, scan_landing
        from cellassets.screens.landing_readings import Readings

        if readings is None:
            readings = Readings()
            readings.begin(now, timedelta(0))
        zone = scan_landing(landing, readings)
        doubled = doubled_names(
            [landed.experiment_id for landed in zone.experiments], lambda name: bool(published(name))
        )
        ignored = {entry.name: entry.reason for entry in zone.ignored}
        ignored |= {name: DOUBLED_NAME.format(other) for name, other in doubled.items()}
        sorting = _Sorting(landing, readings, first_seen, published, now, quiet)
        for landed in zone.experiments:
            if landed.experiment_id not in doubled:
                sorting.add(landed)
        return cls(sorting.complete, sorting.waiting, dict(sorted(ignored.items())), sorting.seen)


@dataclass(frozen=True)
class _Sorting:
    """Sorts experiments into complete and waiting ones. The attributes are those of `Landing` and of its `scan`."""

    landing: UPath
    readings: "Readings"
    first_seen: Mapping[str, Seen]
    published: Callable[[str], str | None]
    now: datetime
    quiet: timedelta
    complete: "dict[str, LandedExperiment]" = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)

    def add(self, landed: "LandedExperiment") -> None:
        """Adds one experiment."""
        name, published = landed.experiment_id, self.published(landed.experiment_id)
        if landed.signature == published:
            self.complete[name] = landed
            return
        since = self._since(landed, published)
        self.seen[name] = (landed.signature, since)
        unchanged = self.now - datetime.fromisoformat(since)
        if unchanged >= self.quiet and self._is_unchanged(landed, datetime.fromisoformat(since) + self.quiet):
            self.complete[name] = landed
        else:
            self.waiting[name] = self._reason(landed, unchanged)

    def _since(self, landed: "LandedExperiment", published: str | None) -> str:
        """Returns when a folder was first seen as it is, or `VOUCHED`."""
        from cellassets.screens.landing import vouched_part

        before, since = self.first_seen.get(landed.experiment_id, ("", ""))
        is_new = landed.is_marked_complete and landed.vouched_for != vouched_part(published or "")
        if before == landed.signature and datetime.fromisoformat(since) <= self.now and (is_new or since != VOUCHED):
            return since  # otherwise: it changed, the clock was set back, or another state of it was published
        if is_new and landed.vouched_for != vouched_part(before):
            return VOUCHED
        return self.now.isoformat()

    def _is_unchanged(self, landed: "LandedExperiment", after: datetime) -> bool:
        """Returns whether a folder is still as it was found, reading all of it unless this was done after a time."""
        from cellassets.screens.landing import look_at

        if self.readings.read_at(landed.experiment_id) >= after:
            return True
        return look_at(self.landing, landed.experiment_id, self.readings) == landed

    def _reason(self, landed: "LandedExperiment", unchanged: timedelta) -> str:
        rule = f"after {self.quiet.total_seconds() / 60:g} min without a change"
        so_far = f", {unchanged.total_seconds():.0f} s so far" if unchanged else ""
        if not landed.is_marked_complete:
            return f"no _COMPLETE in it; starts {rule}{so_far}"
        return (
            f"files changed after _COMPLETE was written; checked again {rule}{so_far}, or at once when _COMPLETE is "
            "written again"
        )
