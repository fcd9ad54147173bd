"""Seconds and images a second by stage: the figures that a run's record carries."""

from dataclasses import dataclass, field


@dataclass
class Clock:
    """What each stage took; a rate only where a stage computed something and did not find it in a cache."""

    seconds: dict[str, float] = field(default_factory=dict)
    images_per_s: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, seconds: float, *, images: int) -> None:
        """Note what a stage took, and for how many images it computed anything."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        if images and seconds > 0:
            self.images_per_s[stage] = images / seconds
