"""Executors with one planted defect each, one file for each chapter that must catch them."""
