"""Times: what a stage took, and what time it is.

In: nothing. Out: seconds and images a second by stage, time stamps in UTC. Owns no file.
"""

from dataclasses import dataclass, field


@dataclass
class Clock:
    """What each stage took; a rate only where a stage computed something and did not find it in a cache.

    Attributes:
        seconds: by stage.
        images_per_s: by stage, of the images for which something was computed.
        cached: by stage, how many images were in a cache already: their work is not in `seconds`.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    images_per_s: dict[str, float] = field(default_factory=dict)
    cached: dict[str, int] = field(default_factory=dict)

    def add(self, stage: str, seconds: float, *, images: int = 0, cached: int = 0) -> None:
        """Note what a stage took, for how many images it computed anything, and how many a cache had."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        if images and seconds > 0:
            self.images_per_s[stage] = images / seconds
        if cached:
            self.cached[stage] = cached


def now_utc() -> str:
    """The time now, as `2026-01-31T12:00:00Z`."""
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
