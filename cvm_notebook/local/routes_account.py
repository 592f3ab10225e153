"""Serve who you are: the user, workspaces, SSH keys and the device log-in."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
