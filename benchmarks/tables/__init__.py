"""Every measured figure of README.md and docs/*.md, written from stored rows between markers.

    python -m benchmarks.tables            # write tables, sentences and plots anew
    python -m benchmarks.tables --check    # 1 if a document says something else than the rows give

A place for a figure is `<!-- table: NAME -->` ... `<!-- end -->`; NAME is one of `contents.CONTENTS`.

evidence.py     which stored rows a table uses
words.py        times, ratios and Markdown tables as text
ladder.py, comparisons.py, lesson.py, prediction.py    one table or sentence a function
contents.py     their names
documents.py    the markers
"""
