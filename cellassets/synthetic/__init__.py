"""A simulated screen with planted biology: first run, tests, calibration."""
