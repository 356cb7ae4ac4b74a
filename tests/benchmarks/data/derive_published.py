"""Works out published_expected.json from the two input tables by plain loops over the published formulas.

The inputs are random numbers with two decimals. Nothing of cellassets is used, and no array arithmetic:

    python tests/benchmarks/data/derive_published.py

The file it wrote was compared once with the references themselves on the same inputs, in double precision:
EFAAR_benchmarking 1.0 (scikit-learn 1.9.1, geomloss 0.3.1, torch 2.15.0, scipy 1.17.1), copairs 0.5.5, proxbias 0.11.0
(statsmodels 0.15.0). Every number agreed to 1e-12, p-values of mean average precision to their Monte-Carlo error.
RxRx3-core's `compound_gene_benchmark` has no release; its loops are written down here from the repository as of
December 2024, with its set of negatives in alphabetical order.
"""

import csv
import json
import math
from itertools import combinations
from pathlib import Path
from statistics import NormalDist, fmean, variance

import numpy as np

FOLDER = Path(__file__).parent
UNEXPRESSED = ("U0", "U1", "U2", "U3")


def read(name):
    with (FOLDER / name).open() as file:
        return list(csv.DictReader(file))


def vector(row):
    return [float(row[name]) for name in ("f1", "f2", "f3", "f4")]


def cosine(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def distance(a, b):
    return max(math.dist(a, b), 1e-4)


def p_value(value, null, *, is_tie_below):
    below = sum(draw < value or (is_tie_below and draw == value) for draw in null)
    return 1 - below / len(null)


def consistency(wells):
    def statistic(own):
        return fmean(cosine(a, b) for a, b in combinations(own, 2)) if len(own) > 1 else None

    return judged(wells, statistic, is_tie_below=False)


def magnitude(wells):
    controls = wells["NTC"]

    def statistic(own):
        if len(own) < 5:
            return None
        between = fmean(distance(a, b) for a in own for b in controls)
        within = [fmean(distance(a, b) for a in group for b in group) for group in (own, controls)]
        return 2 * between - sum(within)

    return judged(wells, statistic, is_tie_below=True)


def judged(wells, statistic, *, is_tie_below):
    values = {name: statistic(own) for name, own in wells.items() if name != "NTC"}
    null = [values[name] for name in UNEXPRESSED]
    return {
        name: [value, None if value is None else p_value(value, null, is_tie_below=is_tie_below)]
        for name, value in values.items()
        if name not in UNEXPRESSED
    }


def average_precision(rows, is_positive, is_negative):
    """AP, its normalised form and both counts of each row that has a positive."""
    found = {}
    for number, row in enumerate(rows):
        others = [other for place, other in enumerate(rows) if place != number]
        own = [cosine(vector(row), vector(other)) for other in others if is_positive(row, other)]
        negatives = [cosine(vector(row), vector(other)) for other in others if is_negative(row, other)]
        if not own:
            continue
        ranked = sorted(own, reverse=True)
        value = fmean(
            place / (place + sum(negative > cos for negative in negatives)) for place, cos in enumerate(ranked, 1)
        )
        n_positives, n_total = len(own), len(own) + len(negatives)
        harmonic = sum(1 / k for k in range(1, n_total + 1))
        expected = ((n_positives - 1) / (n_total - 1) * (n_total - harmonic) + harmonic) / n_total
        found[str(number)] = [value, (value - expected) / (1 - expected), n_positives, n_total]
    return found


def mean_average_precision(rows, found):
    """mAP, normalised mAP and the share of all orders with a larger AP, of each group that has one configuration."""
    groups = {}
    for number, entry in found.items():
        groups.setdefault(rows[int(number)]["perturbation"], []).append(entry)
    result = {}
    for name, entries in groups.items():
        value = fmean(entry[0] for entry in entries)
        n_positives, n_total = entries[0][2:]
        orders = [
            fmean(place / rank for place, rank in enumerate(chosen, 1))
            for chosen in combinations(range(1, n_total + 1), n_positives)
        ]
        share = sum(order > value + 1e-9 for order in orders) / len(orders)
        result[name] = [value, fmean(entry[1] for entry in entries), share]
    return result


def is_treated(row):
    return row["perturbation"] != "NTC"


def activity(rows, *, by_plate):
    def is_positive(a, b):
        is_replicate = is_treated(a) and a["perturbation"] == b["perturbation"]
        return is_replicate and not (by_plate and a["plate"] == b["plate"])

    def is_negative(a, b):
        return is_treated(a) and not is_treated(b) and not (by_plate and a["plate"] != b["plate"])

    return average_precision(rows, is_positive, is_negative)


def label_consistency(rows):
    def is_positive(a, b):
        return a["label"] == b["label"] and a["perturbation"] != b["perturbation"]

    return average_precision(rows, is_positive, lambda a, b: a["label"] != b["label"])


def gene_pairs(genes):
    return {(a["gene"], b["gene"]): cosine(vector(a), vector(b)) for a, b in combinations(genes, 2)}


def recall(genes):
    cosines = gene_pairs(genes)
    known = [(a["gene"], b["gene"]) for a, b in combinations(genes, 2) if a["complex"] == b["complex"]]
    result = {}
    for left, right in ((0.05, 0.95), (0.1, 0.9)):
        hits = 0
        for pair in known:
            at_most = sum(cos <= cosines[pair] for cos in cosines.values()) / len(cosines)
            below = sum(cos < cosines[pair] for cos in cosines.values()) / len(cosines)
            hits += at_most <= left or below >= right
        result[f"{left}_{right}"] = hits / len(known)
    return {"recall": result, "n_pairs": len(known), "n_null_pairs": len(cosines)}


def clusters(genes):
    result = {}
    for name in sorted({row["complex"] for row in genes}):
        own = [row for row in genes if row["complex"] == name]
        others = [row for row in genes if row["complex"] != name]
        within = [cosine(vector(a), vector(b)) for a, b in combinations(own, 2)]
        between = [cosine(vector(a), vector(b)) for a in own for b in others]
        statistic = max(
            abs(sum(x <= at for x in within) / len(within) - sum(x <= at for x in between) / len(between))
            for at in within + between
        )
        result[name] = [fmean(within), fmean(between), len(own), len(others), statistic]
    return result


def rank_test(x, y):
    """Brunner and Munzel's statistic, probability, one-sided normal p-value and both sample sizes."""

    def placements(of, among):
        return [sum((other < value) + (other == value) / 2 for other in among) for value in of]

    own, theirs = placements(x, y), placements(y, x)
    probability = fmean(own) / len(y)
    spread = math.sqrt(len(x) * variance(own) + len(y) * variance(theirs))
    statistic = len(x) * len(y) * (probability - 0.5) / spread
    return [statistic, probability, NormalDist().cdf(-statistic), len(x), len(y)]


def proximity(genes):
    result, all_within, all_between = {}, [], []
    for arm in sorted({row["arm"] for row in genes}):
        own = [row for row in genes if row["arm"] == arm]
        others = [row for row in genes if row["arm"] != arm]
        within = [cosine(vector(a), vector(b)) for a, b in combinations(own, 2)]
        between = [cosine(vector(a), vector(b)) for a in own for b in others]
        all_within += within
        all_between += between
        if len(within) > 20 and len(between) > 20:
            result[arm] = rank_test(within, between)
    return {"arms": result, "genome": rank_test(all_within, all_between)}


def ranking(scores, labels):
    order = sorted(zip(scores, labels, strict=True), key=lambda entry: (-entry[0], entry[1]))
    hits, precisions = 0, []
    for rank, (_, label) in enumerate(order, 1):
        hits += label
        if label:
            precisions.append(hits / rank)
    active = [score for score, label in zip(scores, labels, strict=True) if label]
    others = [score for score, label in zip(scores, labels, strict=True) if not label]
    area = fmean((a > b) + (a == b) / 2 for a in active for b in others)
    return [fmean(precisions), area]


def retrieval(genes, compounds, activities, seed):
    by_gene = {row["gene"]: vector(row) for row in genes}
    pool = {row["gene_symbol"] for row in activities if row["gene_symbol"] in by_gene}
    result = {}
    for compound in sorted({row["compound_id"] for row in activities}):
        own = [row for row in activities if row["compound_id"] == compound and row["gene_symbol"] in by_gene]
        active = list(dict.fromkeys(row["gene_symbol"] for row in own if float(row["activity_nm"]) <= 1000))
        between = {row["gene_symbol"] for row in own if 1000 < float(row["activity_nm"]) <= 10000}
        others = sorted(pool - set(active) - between)
        n_negatives = max(2 * len(active), 20)
        profiles = [row for row in compounds if row["compound_id"] == compound]
        if not active or len(others) < n_negatives or not profiles:
            continue
        items = [*active, *np.random.default_rng(seed).choice(others, n_negatives, replace=False)]
        labels = [item in active for item in items]
        scores = [[abs(cosine(vector(row), by_gene[item])) for item in items] for row in profiles]
        for row, own_scores in zip(profiles, scores, strict=True):
            result[f"{compound}@{row['concentration_um']}"] = ranking(own_scores, labels)
        result[f"{compound}@max"] = ranking([max(column) for column in zip(*scores, strict=True)], labels)
    return result


def main():
    rows, genes = read("published_wells.csv"), read("published_genes.csv")
    wells = {}
    for row in rows:
        wells.setdefault(row["perturbation"], []).append(vector(row))
    found = activity(rows, by_plate=False)
    expected = {
        "consistency": consistency(wells),
        "magnitude": magnitude(wells),
        "activity": found,
        "activity_map": mean_average_precision(rows, found),
        "activity_by_plate": activity(rows, by_plate=True),
        "label_consistency": label_consistency([row for row in rows if is_treated(row)]),
        "recall": recall(genes),
        "clusters": clusters(genes),
        "proximity": proximity(genes),
        "retrieval": retrieval(genes, read("published_compounds.csv"), read("published_activities.csv"), seed=42),
    }
    (FOLDER / "published_expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
