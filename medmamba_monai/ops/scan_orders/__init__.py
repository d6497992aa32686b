"""Scan orders: curves, paths, the order itself and the table of names."""
