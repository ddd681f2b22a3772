"""What people call this service. Nothing else in this folder contains the name; pyproject.toml has it too."""

NAME = "seatrial"  # a DNS label: of the package, the command, and the service in its log
TITLE = "Seatrial"  # for people: on the page, and of the API's description
