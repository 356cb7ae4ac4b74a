"""The compound-gene benchmark of RxRx3-core on its published scale."""
