"""Reports as pages: HTML that needs nothing but itself, and drawings in SVG."""

from zaqar_conformance.pages.badge import badge
from zaqar_conformance.pages.matrix_page import matrix_page
from zaqar_conformance.pages.report_page import report_page

__all__ = ["badge", "matrix_page", "report_page"]
