"""Models of key services in detail: their own report, and their contract on a chain."""

from typing import Any

from cvm_notebook.api.models.base import Int, Model, Rows, Tidy


class KmsNodes(Tidy, frozen=True, kw_only=True, gc=False):
    """The servers that stand for a key service."""

    items: Rows[dict[str, Any]] = ()
    total: Int | None = None


class KmsInspection(Tidy, frozen=True, kw_only=True, gc=False):
    """The report of a key service: itself, its guest agent, its nodes and its contract, as sent."""

    id: str | None = None
    slug: str | None = None
    endpoint: str | None = None
    kms_type: str | None = None
    db_version: str | None = None
    rpc: dict[str, Any] | None = None
    rpc_error: str | None = None
    guest_agent: dict[str, Any] | None = None
    guest_agent_error: str | None = None
    teepods: Rows[dict[str, Any]] = ()
    on_chain: dict[str, Any] | None = None


class ChainDevice(Model, frozen=True, kw_only=True, gc=False):
    """A node that a key service's contract allows, or does not."""

    device_id: str | None = None
    node_name: str | None = None
    on_chain_allowed: bool | None = None


class ChainOsImage(Model, frozen=True, kw_only=True, gc=False):
    """An OS image that a key service's contract allows, or does not."""

    name: str | None = None
    version: str | None = None
    os_image_hash: str | None = None
    on_chain_allowed: bool | None = None


class ChainKmsContract(Tidy, frozen=True, kw_only=True, gc=False):
    """The contract of a key service, and what it allows."""

    contract_address: str | None = None
    chain_id: Int | None = None
    chain_name: str | None = None
    k256_pubkey: str | None = None
    ca_pubkey: str | None = None
    gateway_contract_address: str | None = None
    devices: Rows[ChainDevice] = ()
    os_images: Rows[ChainOsImage] = ()


class ChainKms(Tidy, frozen=True, kw_only=True, gc=False):
    """The key services on one chain."""

    chain_name: str | None = None
    chain_id: Int | None = None
    contracts: Rows[ChainKmsContract] = ()
