"""What is known of biology: pairs, sets, targets of compounds and chromosome arms that maps are judged against."""
