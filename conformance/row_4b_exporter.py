"""Row 4b: an application that has no metrics of its own, and the exporter beside it."""

from dataclasses import replace

from conformance.check import Broken, check
from conformance.row_4a_metrics import count_requests
from conformance.target import Target


@check("4b", "The exporter counts the requests that the application was sent.", needs=("exporter",))
def exporter_counts(target: Target) -> str:
    beside = replace(target.instances[0], ops=target.beside.exporter)
    try:
        name = count_requests(target, beside)
    except Broken as error:
        do = "the exporter must reach the application (JMX: see jmx_scrape_error), and a rule must name its requests"
        raise Broken(f"the exporter at {target.beside.exporter}: {error.saw}", do) from None
    return f"{name} grew by the requests made"
