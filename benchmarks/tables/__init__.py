"""Every measured figure of README.md and docs/*.md, written from stored rows between markers.

    python -m benchmarks.tables            # write tables, sentences and plots again
    python -m benchmarks.tables --check    # 1 if a document says something else than the rows give

A place for figures is `<!-- table: NAME -->` ... `<!-- end -->`; NAME is one of `__main__.contents`. What has no row
yet is written as nothing, its headings included.

stored.py    the stored rows that a table uses
text.py      times, ratios, conditions as text
tables.py    two shapes of table, listings and grids, and the groups that are written as them
lesson.py    the lesson's phases, and the README's figures
t4.py        predictions for a T4 beside the rows that they are checked with
plots.py     bars, rooflines and curves
__main__.py  names, markers, documents
"""
