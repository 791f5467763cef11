"""Linguistic knowledge transfer: the papers' objectives (training only)."""
