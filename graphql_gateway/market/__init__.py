"""Listings and sales of titles."""
