"""Published statistics under their own names, each equal to its reference implementation.

`efaar_wells` and `efaar_map` (Celik et al. 2024), `copairs` and `copairs_null` (Kalinin et al. 2025), `rxrx` (Kraus et
al. 2025), `proxbias` (Lazar et al. 2024). They are for comparison with published numbers, and models are not ranked by
them. `beside_wells` and `beside_genes` compute them on a judged map, to be shown beside the scores. Where a reference
is wrong it is followed here, and docs/published-statistics.md says so.
"""
