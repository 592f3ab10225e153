"""Serve the log files of a CVM, by URLs that carry their own token."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
