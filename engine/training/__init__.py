"""Training: the loop and the schedules."""
