"""The answers of the service as frozen structs; each name is loaded when it is first used.

Unknown fields are ignored, unknown statuses kept in the service's own word, and what was not sent
is None.
"""

from typing import TYPE_CHECKING

from cvm_notebook._lazy import lazy_names

if TYPE_CHECKING:
    from cvm_notebook.api.models.actions import ComposeProvision as ComposeProvision
    from cvm_notebook.api.models.actions import CvmAction as CvmAction
    from cvm_notebook.api.models.actions import CvmState as CvmState
    from cvm_notebook.api.models.actions import CvmStatus as CvmStatus
    from cvm_notebook.api.models.actions import GuestEvent as GuestEvent
    from cvm_notebook.api.models.actions import HashRequired as HashRequired
    from cvm_notebook.api.models.actions import OperationStatus as OperationStatus
    from cvm_notebook.api.models.actions import Page as Page
    from cvm_notebook.api.models.actions import Provision as Provision
    from cvm_notebook.api.models.actions import Redeployed as Redeployed
    from cvm_notebook.api.models.actions import RedeployedCvm as RedeployedCvm
    from cvm_notebook.api.models.actions import ResourceUsage as ResourceUsage
    from cvm_notebook.api.models.actions import UpdateAccepted as UpdateAccepted
    from cvm_notebook.api.models.actions import decode_page as decode_page
    from cvm_notebook.api.models.actions import decode_state as decode_state
    from cvm_notebook.api.models.actions import decode_statuses as decode_statuses
    from cvm_notebook.api.models.apps import Allowance as Allowance
    from cvm_notebook.api.models.apps import Allowances as Allowances
    from cvm_notebook.api.models.apps import AllowedDevice as AllowedDevice
    from cvm_notebook.api.models.apps import AppFilterOptions as AppFilterOptions
    from cvm_notebook.api.models.apps import AppKmsInfo as AppKmsInfo
    from cvm_notebook.api.models.apps import AppUsage as AppUsage
    from cvm_notebook.api.models.apps import DeviceAllowlist as DeviceAllowlist
    from cvm_notebook.api.models.apps import PendingUpdate as PendingUpdate
    from cvm_notebook.api.models.apps import PendingUpdatePreview as PendingUpdatePreview
    from cvm_notebook.api.models.apps import PendingUpdates as PendingUpdates
    from cvm_notebook.api.models.apps import TcbEvaluation as TcbEvaluation
    from cvm_notebook.api.models.apps import TcbEvaluationInstance as TcbEvaluationInstance
    from cvm_notebook.api.models.apps import UsageRecord as UsageRecord
    from cvm_notebook.api.models.base import instant as instant
    from cvm_notebook.api.models.base import money as money
    from cvm_notebook.api.models.catalogue import App as App
    from cvm_notebook.api.models.catalogue import AppPage as AppPage
    from cvm_notebook.api.models.catalogue import AppProfile as AppProfile
    from cvm_notebook.api.models.catalogue import AppRevision as AppRevision
    from cvm_notebook.api.models.catalogue import AppRevisions as AppRevisions
    from cvm_notebook.api.models.catalogue import AvailableNodes as AvailableNodes
    from cvm_notebook.api.models.catalogue import Capacity as Capacity
    from cvm_notebook.api.models.catalogue import Credits as Credits
    from cvm_notebook.api.models.catalogue import CurrentUser as CurrentUser
    from cvm_notebook.api.models.catalogue import EnvPubkey as EnvPubkey
    from cvm_notebook.api.models.catalogue import GpuAvailability as GpuAvailability
    from cvm_notebook.api.models.catalogue import InstanceType as InstanceType
    from cvm_notebook.api.models.catalogue import InstanceTypeFamilies as InstanceTypeFamilies
    from cvm_notebook.api.models.catalogue import InstanceTypeFamily as InstanceTypeFamily
    from cvm_notebook.api.models.catalogue import KmsContract as KmsContract
    from cvm_notebook.api.models.catalogue import KmsNode as KmsNode
    from cvm_notebook.api.models.catalogue import NextAppId as NextAppId
    from cvm_notebook.api.models.catalogue import NextAppIds as NextAppIds
    from cvm_notebook.api.models.catalogue import Node as Node
    from cvm_notebook.api.models.catalogue import OsImage as OsImage
    from cvm_notebook.api.models.catalogue import OsImageRef as OsImageRef
    from cvm_notebook.api.models.catalogue import QuotaMetric as QuotaMetric
    from cvm_notebook.api.models.catalogue import Quotas as Quotas
    from cvm_notebook.api.models.catalogue import ReservedGpu as ReservedGpu
    from cvm_notebook.api.models.catalogue import User as User
    from cvm_notebook.api.models.catalogue import Workspace as Workspace
    from cvm_notebook.api.models.catalogue import WorkspacePage as WorkspacePage
    from cvm_notebook.api.models.catalogue import WorkspacePagination as WorkspacePagination
    from cvm_notebook.api.models.catalogue import WorkspaceQuotas as WorkspaceQuotas
    from cvm_notebook.api.models.catalogue import decode_current_user as decode_current_user
    from cvm_notebook.api.models.cvm import BatchStopped as BatchStopped
    from cvm_notebook.api.models.cvm import Cvm as Cvm
    from cvm_notebook.api.models.cvm import CvmRef as CvmRef
    from cvm_notebook.api.models.cvm import DeviceId as DeviceId
    from cvm_notebook.api.models.cvm import Endpoint as Endpoint
    from cvm_notebook.api.models.cvm import Gateway as Gateway
    from cvm_notebook.api.models.cvm import GpuRentalOrder as GpuRentalOrder
    from cvm_notebook.api.models.cvm import HourlyRate as HourlyRate
    from cvm_notebook.api.models.cvm import KmsInfo as KmsInfo
    from cvm_notebook.api.models.cvm import LogUrls as LogUrls
    from cvm_notebook.api.models.cvm import NodeRef as NodeRef
    from cvm_notebook.api.models.cvm import NotStopped as NotStopped
    from cvm_notebook.api.models.cvm import OsInfo as OsInfo
    from cvm_notebook.api.models.cvm import Progress as Progress
    from cvm_notebook.api.models.cvm import Resource as Resource
    from cvm_notebook.api.models.cvm import UserRef as UserRef
    from cvm_notebook.api.models.cvm import WorkspaceRef as WorkspaceRef
    from cvm_notebook.api.models.decode import convert as convert
    from cvm_notebook.api.models.decode import decode as decode
    from cvm_notebook.api.models.guest import Certificate as Certificate
    from cvm_notebook.api.models.guest import CertificateName as CertificateName
    from cvm_notebook.api.models.guest import Container as Container
    from cvm_notebook.api.models.guest import CvmAttestation as CvmAttestation
    from cvm_notebook.api.models.guest import CvmContainers as CvmContainers
    from cvm_notebook.api.models.guest import CvmNetwork as CvmNetwork
    from cvm_notebook.api.models.guest import CvmOsImage as CvmOsImage
    from cvm_notebook.api.models.guest import CvmStats as CvmStats
    from cvm_notebook.api.models.guest import Disk as Disk
    from cvm_notebook.api.models.guest import EventLog as EventLog
    from cvm_notebook.api.models.guest import Operation as Operation
    from cvm_notebook.api.models.guest import OperationEvent as OperationEvent
    from cvm_notebook.api.models.guest import OperationPage as OperationPage
    from cvm_notebook.api.models.guest import OsImageVariant as OsImageVariant
    from cvm_notebook.api.models.guest import SystemInfo as SystemInfo
    from cvm_notebook.api.models.guest import TcbInfo as TcbInfo
    from cvm_notebook.api.models.guest import UserConfig as UserConfig
    from cvm_notebook.api.models.kms import ChainDevice as ChainDevice
    from cvm_notebook.api.models.kms import ChainKms as ChainKms
    from cvm_notebook.api.models.kms import ChainKmsContract as ChainKmsContract
    from cvm_notebook.api.models.kms import ChainOsImage as ChainOsImage
    from cvm_notebook.api.models.kms import KmsInspection as KmsInspection
    from cvm_notebook.api.models.kms import KmsNodes as KmsNodes
    from cvm_notebook.api.models.network import CaaCheck as CaaCheck
    from cvm_notebook.api.models.network import DnsRecord as DnsRecord
    from cvm_notebook.api.models.network import DomainDiagnoses as DomainDiagnoses
    from cvm_notebook.api.models.network import DomainDiagnosis as DomainDiagnosis
    from cvm_notebook.api.models.network import FirewallStatus as FirewallStatus
    from cvm_notebook.api.models.network import NetworkConfig as NetworkConfig
    from cvm_notebook.api.models.network import PortMapping as PortMapping
    from cvm_notebook.api.models.ssh import CvmSshKey as CvmSshKey
    from cvm_notebook.api.models.ssh import CvmSshKeys as CvmSshKeys
    from cvm_notebook.api.models.ssh import GithubImport as GithubImport
    from cvm_notebook.api.models.ssh import GithubSync as GithubSync
    from cvm_notebook.api.models.ssh import SshKey as SshKey
    from cvm_notebook.api.models.upkeep import CancelledOperation as CancelledOperation
    from cvm_notebook.api.models.upkeep import InstanceIdRefresh as InstanceIdRefresh
    from cvm_notebook.api.models.upkeep import InstanceIdRefreshes as InstanceIdRefreshes
    from cvm_notebook.api.models.upkeep import ScriptStatus as ScriptStatus
    from cvm_notebook.api.models.webhooks import Webhook as Webhook
    from cvm_notebook.api.models.webhooks import WebhookDelivery as WebhookDelivery
    from cvm_notebook.api.models.webhooks import WebhookEvent as WebhookEvent
    from cvm_notebook.api.models.webhooks import WebhookSecret as WebhookSecret
    from cvm_notebook.api.models.webhooks import WebhookStats as WebhookStats

# name -> the module that holds it
_HOMES = {
    "Allowance": "apps",
    "Allowances": "apps",
    "AllowedDevice": "apps",
    "App": "catalogue",
    "AppFilterOptions": "apps",
    "AppKmsInfo": "apps",
    "AppPage": "catalogue",
    "AppProfile": "catalogue",
    "AppRevision": "catalogue",
    "AppRevisions": "catalogue",
    "AppUsage": "apps",
    "AvailableNodes": "catalogue",
    "BatchStopped": "cvm",
    "CaaCheck": "network",
    "CancelledOperation": "upkeep",
    "Capacity": "catalogue",
    "Certificate": "guest",
    "CertificateName": "guest",
    "ChainDevice": "kms",
    "ChainKms": "kms",
    "ChainKmsContract": "kms",
    "ChainOsImage": "kms",
    "ComposeProvision": "actions",
    "Container": "guest",
    "Credits": "catalogue",
    "CurrentUser": "catalogue",
    "Cvm": "cvm",
    "CvmAction": "actions",
    "CvmAttestation": "guest",
    "CvmContainers": "guest",
    "CvmNetwork": "guest",
    "CvmOsImage": "guest",
    "CvmRef": "cvm",
    "CvmSshKey": "ssh",
    "CvmSshKeys": "ssh",
    "CvmState": "actions",
    "CvmStats": "guest",
    "CvmStatus": "actions",
    "DeviceAllowlist": "apps",
    "DeviceId": "cvm",
    "Disk": "guest",
    "DnsRecord": "network",
    "DomainDiagnoses": "network",
    "DomainDiagnosis": "network",
    "Endpoint": "cvm",
    "EnvPubkey": "catalogue",
    "EventLog": "guest",
    "FirewallStatus": "network",
    "Gateway": "cvm",
    "GithubImport": "ssh",
    "GithubSync": "ssh",
    "GpuAvailability": "catalogue",
    "GpuRentalOrder": "cvm",
    "GuestEvent": "actions",
    "HashRequired": "actions",
    "HourlyRate": "cvm",
    "InstanceIdRefresh": "upkeep",
    "InstanceIdRefreshes": "upkeep",
    "InstanceType": "catalogue",
    "InstanceTypeFamilies": "catalogue",
    "InstanceTypeFamily": "catalogue",
    "KmsContract": "catalogue",
    "KmsInfo": "cvm",
    "KmsInspection": "kms",
    "KmsNode": "catalogue",
    "KmsNodes": "kms",
    "LogUrls": "cvm",
    "NetworkConfig": "network",
    "NextAppId": "catalogue",
    "NextAppIds": "catalogue",
    "Node": "catalogue",
    "NodeRef": "cvm",
    "NotStopped": "cvm",
    "Operation": "guest",
    "OperationEvent": "guest",
    "OperationPage": "guest",
    "OperationStatus": "actions",
    "OsImage": "catalogue",
    "OsImageRef": "catalogue",
    "OsImageVariant": "guest",
    "OsInfo": "cvm",
    "Page": "actions",
    "PendingUpdate": "apps",
    "PendingUpdatePreview": "apps",
    "PendingUpdates": "apps",
    "PortMapping": "network",
    "Progress": "cvm",
    "Provision": "actions",
    "QuotaMetric": "catalogue",
    "Quotas": "catalogue",
    "ReservedGpu": "catalogue",
    "Resource": "cvm",
    "ResourceUsage": "actions",
    "ScriptStatus": "upkeep",
    "SshKey": "ssh",
    "SystemInfo": "guest",
    "TcbEvaluation": "apps",
    "TcbEvaluationInstance": "apps",
    "TcbInfo": "guest",
    "Redeployed": "actions",
    "RedeployedCvm": "actions",
    "UpdateAccepted": "actions",
    "UsageRecord": "apps",
    "User": "catalogue",
    "UserConfig": "guest",
    "UserRef": "cvm",
    "Webhook": "webhooks",
    "WebhookDelivery": "webhooks",
    "WebhookEvent": "webhooks",
    "WebhookSecret": "webhooks",
    "WebhookStats": "webhooks",
    "Workspace": "catalogue",
    "WorkspacePage": "catalogue",
    "WorkspacePagination": "catalogue",
    "WorkspaceQuotas": "catalogue",
    "WorkspaceRef": "cvm",
    "convert": "decode",
    "decode": "decode",
    "decode_current_user": "catalogue",
    "decode_page": "actions",
    "decode_state": "actions",
    "decode_statuses": "actions",
    "instant": "base",
    "money": "base",
}

if not TYPE_CHECKING:  # for a type checker, a name that is not above is a mistake
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES)
