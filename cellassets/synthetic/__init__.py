"""Simulated screens with planted biology, for the demo, the tests and the calibration study."""
