"""The conformance suite: the practices of operating a container, proved from outside on anything that serves HTTP.

``python -m conformance --help``. It needs Python 3.11 and nothing else, so it stands alone in a fork whose service
is written in another language. Arrows point one way: options → target → trials → rows → report.
"""
