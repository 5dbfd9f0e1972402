"""Damaged and hostile inputs, made by seeded scripts and given to the real command line.

    python -m tests.fuzz                          everything that a release is held to, some twenty minutes
    python -m tests.fuzz pictures --count 200     one kind
    python -m tests.fuzz clips --seed 7 --first 41 --count 1 --keep bad    one input again, kept in a folder

Input number n of a seed is always the same, so that a fault can be had again from the two numbers in its report.
"""
