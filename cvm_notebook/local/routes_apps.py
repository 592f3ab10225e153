"""Serve apps: their CVMs, revisions, attestations and allow-lists."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
