"""Ticks: cron jobs that run once, on one host, and are taken over when that host dies.

Pure: ``schedule`` (which tick is meant), ``record`` (what a job's note holds), ``rules`` (run it, wait, or leave it),
``skew`` (whose clock is wrong) and ``claim`` (all that as the errand of a candidate). What waits and acts is beside
them: ``ticking``, ``decorator`` and ``job``; every decision that they carry out is one of the rules'.
"""
