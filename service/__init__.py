"""Seatrial: a small service that shows how a container is operated."""
