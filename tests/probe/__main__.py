"""The whole service, with the probe's routes instead of the sample's."""

import sys

import service
from service.__main__ import main

if __name__ == "__main__":
    service.FEATURES = ("tests.probe",)
    sys.exit(main())
