"""Fine-tuning on pixels: what is drawn anew in every step, crops and MixUp among it. Its ways stand in `tuned`."""

from benchmarks.tuned import measure_on_pixels as measure

__all__ = ["measure"]
