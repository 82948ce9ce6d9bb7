"""From symptoms in logs, traces and records to root causes.

Readers turn every input into lines or events with a context (`sources.py`, `structured.py`, `journal.py`,
`tracers.py`); one compiled matcher recognises what kernels, loaders, shells, runtimes and container engines say
(`matcher.py` over the tables of `patterns_*.py`); `gather.py` counts equal symptoms in bounded memory; `join.py`
puts those together that one cause explains; `settle.py` asks the preflight; `report.py` and `reproduce.py` speak.
"""
