"""Every measured figure of README.md and docs/*.md, written from stored rows between markers.

    python -m benchmarks.tables            # write tables, sentences and plots again
    python -m benchmarks.tables --check    # 1 if a document says something else than the rows give

A place for figures is `<!-- table: NAME -->` ... `<!-- end -->`; NAME is one of `__main__.contents`. What has no row
yet is written as nothing, its headings included.

stored, text        which rows a document takes; ratios, conditions and Markdown as text
tables, lesson, t4  contenders and curves; the whole lesson's phases; predictions for a T4 with what checks them
plots               `docs/images/*.svg`
"""
