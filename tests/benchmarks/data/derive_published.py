"""Works out published_expected.json from the two input tables by plain loops over the published formulas.

The inputs are random numbers with two decimals. Nothing of cellassets is used, and no array arithmetic:

    python tests/benchmarks/data/derive_published.py

The file it wrote was compared once with the references themselves on the same inputs, in double precision:
EFAAR_benchmarking 1.0 (scikit-learn 1.9.1, geomloss 0.3.1, torch 2.15.0, scipy 1.17.1), copairs 0.5.5, proxbias 0.11.0
(statsmodels 0.15.0). Every number agreed to 1e-12, p-values of mean average precision to their Monte-Carlo error.
cytominer-eval 0.1 (pandas 2.1.4, numpy 1.26.4, scikit-learn 1.9.1) was compared in the same way.
RxRx3-core's `compound_gene_benchmark` has no release; its loops are written down here from the repository as of
December 2024, with its set of negatives in alphabetical order.
"""

import csv
import json
import math
from itertools import combinations
from pathlib import Path
from statistics import NormalDist, fmean, pstdev, variance

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


def correlation(a, b):
    def away(values):
        return [value - fmean(values) for value in values]

    return cosine(away(a), away(b))


def quantile(values, share):
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def reproducibility(rows, name, share):
    """Share of pairs of one name above a quantile of the others, and the number of such pairs."""
    pairs = [(a[name] == b[name], correlation(vector(a), vector(b))) for a, b in combinations(rows, 2)]
    threshold = quantile([value for is_within, value in pairs if not is_within], share)
    within = [value for is_within, value in pairs if is_within]
    return [sum(value > threshold for value in within) / len(within), len(within)]


def means_of(rows):
    """One row per perturbation: its label and the mean of its vectors."""
    found = []
    for name in sorted({row["perturbation"] for row in rows}):
        own = [row for row in rows if row["perturbation"] == name]
        means = [fmean(column) for column in zip(*map(vector, own), strict=True)]
        features = dict(zip(("f1", "f2", "f3", "f4"), means, strict=True))
        found.append({"perturbation": name, "label": own[0]["label"], **features})
    return found


def grit(rows):
    """Mean z of each row's correlations with its replicates, from those with controls; None without replicates."""
    result = []
    for number, row in enumerate(rows):
        others = [other for place, other in enumerate(rows) if place != number]
        controls = [correlation(vector(row), vector(other)) for other in others if not is_treated(other)]
        own = [correlation(vector(row), vector(o)) for o in others if o["perturbation"] == row["perturbation"]]
        result.append(fmean((r - fmean(controls)) / pstdev(controls) for r in own) if own else None)
    return result


def mahalanobis(own, controls):
    """Squared distance of the mean of `own` from the mean of the controls, by the controls' covariance."""
    away = own.mean(axis=0) - controls.mean(axis=0)
    return float(away @ np.linalg.pinv(np.cov(controls.T, bias=True)) @ away)


def mp_values(wells):
    """Distance and share of all other groups of as many wells that are as far, in components with 90% of variance."""
    result = {}
    for name in ("B", "T"):
        own, controls = np.array(wells[name]), np.array(wells["NTC"])
        both = np.concatenate([own, controls])
        both = both - both.mean(axis=0)
        variances, axes = np.linalg.eigh(both.T @ both)
        order = np.argsort(-variances)
        n_kept = 1 + sum(np.cumsum(variances[order]) / variances.sum() <= 0.9)
        both = both @ axes[:, order[:n_kept]]
        distances = [
            mahalanobis(both[list(chosen)], np.delete(both, chosen, axis=0))
            for chosen in combinations(range(len(both)), len(own))
        ]
        result[name] = [distances[0], fmean(distance >= distances[0] - 1e-9 for distance in distances)]
    return result


def matching(genes, compounds, activities):
    """Average precision of each gene's compounds among all with an activity, by the largest |cosine| over doses."""
    owners = sorted({row["compound_id"] for row in activities} & {row["compound_id"] for row in compounds})
    known = {(row["compound_id"], row["gene_symbol"]) for row in activities}
    result = {}
    for gene in genes:
        labels = [(owner, gene["gene"]) in known for owner in owners]
        if any(labels) and not all(labels):
            scores = [
                max(abs(cosine(vector(row), vector(gene))) for row in compounds if row["compound_id"] == owner)
                for owner in owners
            ]
            result[gene["gene"]] = ranking(scores, labels)[0]
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
        "replicating": reproducibility([row for row in rows if is_treated(row)], "perturbation", 0.95),
        "matching": reproducibility(means_of([row for row in rows if is_treated(row)]), "label", 0.6),
        "grit": grit(rows),
        "mp_value": mp_values(wells),
        "gene_compounds": matching(genes, read("published_compounds.csv"), read("published_activities.csv")),
        "retrieval": retrieval(genes, read("published_compounds.csv"), read("published_activities.csv"), seed=42),
    }
    (FOLDER / "published_expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
