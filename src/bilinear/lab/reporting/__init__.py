"""Sections, instruments and the report made of them, as text, JSON and a page."""
