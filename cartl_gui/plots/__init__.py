"""One file per plot. A plot consumes a run's data and hands out the series it shows."""
