"""Endurance: deploys, storms, churn and memory at full size, with the real server. ``make endurance``."""
