"""A report on runs: what they are, what they learnt, and what they get wrong, as one HTML file.

``runs`` reads a run's files and says which runs belong together. ``results`` and ``curves`` turn
its numbers into tables and charts, ``answers`` reads what an evaluation has kept, ``maps``,
``album`` and ``galleries`` are about images, and ``page`` writes it all. ``charts`` describes plots
in Vega-Lite, which draws them in the page and as PNG.
"""
