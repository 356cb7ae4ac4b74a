"""The level at which a p-value or q-value is called significant, where no policy says otherwise."""

SIGNIFICANCE_LEVEL = 0.05
