"""What a campaign tells people: one HTML page that needs nothing else, and a summary in Markdown."""

from .write import write_report

__all__ = ["write_report"]
