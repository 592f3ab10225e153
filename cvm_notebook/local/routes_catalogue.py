"""Serve what can be rented: nodes, instance types, images and KMS."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
