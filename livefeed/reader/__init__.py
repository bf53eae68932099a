"""The readers' wing: ticker and item pages."""
