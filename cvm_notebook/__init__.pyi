# What `cvm_notebook` exports, for type checkers; the module itself loads each when it is used.

from cvm_notebook import errors as errors
from cvm_notebook.api import models as models
from cvm_notebook.api.client import Client as Client
from cvm_notebook.api.compose.hashing import compose_hash as compose_hash
from cvm_notebook.api.compose.hashing import encrypt_env as encrypt_env
from cvm_notebook.api.errors import codes
from cvm_notebook.api.errors.tree import ApiError as ApiError
from cvm_notebook.api.errors.tree import AuthError as AuthError
from cvm_notebook.api.errors.tree import ConfigurationError as ConfigurationError
from cvm_notebook.api.errors.tree import ConflictError as ConflictError
from cvm_notebook.api.errors.tree import CvmError as CvmError
from cvm_notebook.api.errors.tree import DecodeError as DecodeError
from cvm_notebook.api.errors.tree import InvalidInput as InvalidInput
from cvm_notebook.api.errors.tree import NotFoundError as NotFoundError
from cvm_notebook.api.errors.tree import RateLimited as RateLimited
from cvm_notebook.api.errors.tree import ReadOnly as ReadOnly
from cvm_notebook.api.errors.tree import ResourceError as ResourceError
from cvm_notebook.api.errors.tree import ServerError as ServerError
from cvm_notebook.api.errors.tree import TransportError as TransportError
from cvm_notebook.api.errors.tree import UnsafeRedirect as UnsafeRedirect
from cvm_notebook.api.errors.tree import WatchTimeout as WatchTimeout
from cvm_notebook.api.models.actions import CvmState as CvmState
from cvm_notebook.api.models.cvm import Cvm as Cvm
from cvm_notebook.api.secret import Secret as Secret
from cvm_notebook.api.webhook_signature import WebhookRejected as WebhookRejected
from cvm_notebook.api.webhook_signature import verify_webhook as verify_webhook
from cvm_notebook.attest.bundle import verify_bundle as verify_bundle
from cvm_notebook.attest.images import known_images as known_images
from cvm_notebook.attest.images import learn_image as learn_image
from cvm_notebook.attest.policy.policy import Policy as Policy
from cvm_notebook.attest.verdict import Verdict as Verdict
from cvm_notebook.attest.verify import verify as verify
from cvm_notebook.connection import connect as connect
from cvm_notebook.fleet.dashboard import dashboard as dashboard
from cvm_notebook.fleet.fleet import Fleet as Fleet
from cvm_notebook.fleet.selection import FleetPlan as FleetPlan
from cvm_notebook.frames import GatesFailed as GatesFailed
from cvm_notebook.frames import assert_fleet as assert_fleet
from cvm_notebook.frames import attestation_frame as attestation_frame
from cvm_notebook.frames import deliveries_frame as deliveries_frame
from cvm_notebook.frames import exposure_frame as exposure_frame
from cvm_notebook.frames import fleet_frame as fleet_frame
from cvm_notebook.frames import instance_types_frame as instance_types_frame
from cvm_notebook.frames import nodes_frame as nodes_frame
from cvm_notebook.frames import plot_metrics as plot_metrics
from cvm_notebook.frames import quotas_frame as quotas_frame
from cvm_notebook.frames import read_fleet as read_fleet
from cvm_notebook.frames import ssh_keys_frame as ssh_keys_frame
from cvm_notebook.frames import usage_frame as usage_frame
from cvm_notebook.frames.plots import plot_cost as plot_cost
from cvm_notebook.frames.plots import plot_fleet as plot_fleet
from cvm_notebook.frames.plots import plot_timeline as plot_timeline
from cvm_notebook.local import LocalCloud as LocalCloud
from cvm_notebook.magics.extension import load_ipython_extension as load_ipython_extension
from cvm_notebook.magics.extension import unload_ipython_extension as unload_ipython_extension
from cvm_notebook.widgets.form.form import ProvisionForm as ProvisionForm
from cvm_notebook.widgets.login import login as login

__version__: str
error_codes = codes
