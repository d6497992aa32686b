"""Token mixers: one state-space core each, and the scan mixer for grids."""
