"""Serve CVMs."""

from fastapi import APIRouter

router = APIRouter()
