"""Serve CVMs: provision, commit, look at one, list them."""

from fastapi import APIRouter

router = APIRouter()
