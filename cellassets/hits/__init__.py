"""Calling hits: which perturbations are active, from which dose on, and what the active ones show."""
