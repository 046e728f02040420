"""Dagster: assets, checks, jobs, schedules; thin over the plain functions below."""
