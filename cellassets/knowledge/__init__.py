"""Known biology: the gene pairs, sets, targets of compounds and chromosome arms that maps are judged against."""
