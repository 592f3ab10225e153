"""Serve what only tests and the owner of this server may do: faults, the clock, the seen requests."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
