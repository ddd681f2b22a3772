"""The whole service, with the route of ``bench.work`` instead of the sample's."""

import sys

import service
from service.__main__ import main

if __name__ == "__main__":
    service.FEATURES = ("bench.work",)
    sys.exit(main())
