"""Serve the past of a CVM and its measurements: operations, stats, network, containers, attestation."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
