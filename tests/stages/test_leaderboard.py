def test_x(scored):
    print(scored.lake.records().keys("perturbation_map"))
