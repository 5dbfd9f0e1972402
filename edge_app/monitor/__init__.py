"""Takes what a run knows of itself; shows it as timings, metrics, health, and to the service manager."""
