"""The landing zone: which experiments are complete, which are not yet, and which entries are ignored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from upath import UPath

if TYPE_CHECKING:
    from cellassets.screens.landing import LandedExperiment


@dataclass(frozen=True)
class Landing:
    """The landing zone at one moment.

    Attributes:
        complete: experiments that can be checked and stored, by name.
        waiting: for each experiment that is not complete yet, the reason.
        ignored: for each entry that is not an experiment, the reason.
        first_seen: for each folder without a marker that is not published in its present state, the signature of its
            content, and the time when this was first seen.
    """

    complete: Mapping[str, "LandedExperiment"]
    waiting: Mapping[str, str]
    ignored: Mapping[str, str]
    first_seen: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def scan(
        cls,
        landing: UPath,
        *,
        first_seen: Mapping[str, tuple[str, str]],
        now: datetime,
        quiet: timedelta,
        published: Callable[[str], str | None] = lambda _name: None,
    ) -> "Landing":
        """Returns the landing zone as it is now.

        Args:
            landing: its folder or URL.
            first_seen: `first_seen` of the previous scan, empty at the first.
            now: the time of this scan, with a time zone.
            quiet: a folder without the marker `_COMPLETE` is complete after this long without a change.
            published: returns the signature of the content of which an experiment's manifest was published, or None.
        """
        from cellassets.screens.landing import scan_landing

        zone = scan_landing(landing)
        complete: dict[str, LandedExperiment] = {}
        waiting: dict[str, str] = {}
        seen: dict[str, tuple[str, str]] = {}
        for landed in zone.experiments:
            if landed.is_marked_complete or landed.signature == published(landed.experiment_id):
                complete[landed.experiment_id] = landed
                continue
            signature, since = first_seen.get(landed.experiment_id, ("", ""))
            if signature != landed.signature or datetime.fromisoformat(since) > now:  # the clock was set back
                since = now.isoformat()
            seen[landed.experiment_id] = (landed.signature, since)
            unchanged = now - datetime.fromisoformat(since)
            if unchanged >= quiet:
                complete[landed.experiment_id] = landed
            else:
                so_far = f", {unchanged.total_seconds():.0f} s so far" if unchanged else ""
                rule = f"starts after {quiet.total_seconds() / 60:g} min without a change"
                waiting[landed.experiment_id] = f"no _COMPLETE in it; {rule}{so_far}"
        return cls(complete, waiting, {entry.name: entry.reason for entry in zone.ignored}, seen)
