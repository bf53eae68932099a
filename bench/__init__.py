"""The benchmarks: livefeed beside its peers, in one run, each reader's sequence checked. See README.md here."""
