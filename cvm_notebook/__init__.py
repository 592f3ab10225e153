"""Run confidential virtual machines from a notebook.

``import cvm_notebook as cvm`` costs nothing: each public name is loaded when it is first used
(PEP 562).
"""

from cvm_notebook._lazy import lazy_names

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing has it, which would take most of the time of this import
if TYPE_CHECKING:
    from cvm_notebook import errors as errors
    from cvm_notebook.api import error_codes as error_codes
    from cvm_notebook.api import models as models
    from cvm_notebook.api.client import Client as Client
    from cvm_notebook.api.compose import compose_hash as compose_hash
    from cvm_notebook.api.compose import encrypt_env as encrypt_env
    from cvm_notebook.api.errors import ApiError as ApiError
    from cvm_notebook.api.errors import AuthError as AuthError
    from cvm_notebook.api.errors import ConfigurationError as ConfigurationError
    from cvm_notebook.api.errors import ConflictError as ConflictError
    from cvm_notebook.api.errors import CvmError as CvmError
    from cvm_notebook.api.errors import DecodeError as DecodeError
    from cvm_notebook.api.errors import InvalidInput as InvalidInput
    from cvm_notebook.api.errors import NotFoundError as NotFoundError
    from cvm_notebook.api.errors import RateLimited as RateLimited
    from cvm_notebook.api.errors import ReadOnly as ReadOnly
    from cvm_notebook.api.errors import ResourceError as ResourceError
    from cvm_notebook.api.errors import ServerError as ServerError
    from cvm_notebook.api.errors import TransportError as TransportError
    from cvm_notebook.api.errors import UnsafeRedirect as UnsafeRedirect
    from cvm_notebook.api.errors import WatchTimeout as WatchTimeout
    from cvm_notebook.api.models import Cvm as Cvm
    from cvm_notebook.api.models import CvmState as CvmState
    from cvm_notebook.api.secret import Secret as Secret
    from cvm_notebook.app import dashboard as dashboard
    from cvm_notebook.connection import connect as connect
    from cvm_notebook.fleet import Fleet as Fleet
    from cvm_notebook.frames import GatesFailed as GatesFailed
    from cvm_notebook.frames import assert_fleet as assert_fleet
    from cvm_notebook.frames import attestation_frame as attestation_frame
    from cvm_notebook.frames import fleet_frame as fleet_frame
    from cvm_notebook.frames import instance_types_frame as instance_types_frame
    from cvm_notebook.frames import nodes_frame as nodes_frame
    from cvm_notebook.frames import quotas_frame as quotas_frame
    from cvm_notebook.frames import read_fleet as read_fleet
    from cvm_notebook.frames.plots import plot_cost as plot_cost
    from cvm_notebook.frames.plots import plot_fleet as plot_fleet
    from cvm_notebook.frames.plots import plot_timeline as plot_timeline
    from cvm_notebook.local import LocalCloud as LocalCloud
    from cvm_notebook.selection import FleetPlan as FleetPlan
    from cvm_notebook.widgets.form import ProvisionForm as ProvisionForm
    from cvm_notebook.widgets.login import login as login

# lazy name -> the module that holds it; with a dot at its end, the module itself
_HOMES = {
    "Client": "api.client",
    "Fleet": "fleet",
    "FleetPlan": "selection",
    "LocalCloud": "local",
    "ProvisionForm": "widgets.form",
    "Secret": "api.secret",
    "connect": "connection",
    "login": "widgets.login",
    "dashboard": "app",
    "compose_hash": "api.compose",
    "encrypt_env": "api.compose",
    "GatesFailed": "frames",
    "assert_fleet": "frames",
    "attestation_frame": "frames",
    "fleet_frame": "frames",
    "instance_types_frame": "frames",
    "nodes_frame": "frames",
    "quotas_frame": "frames",
    "read_fleet": "frames",
    "plot_cost": "frames.plots",
    "plot_fleet": "frames.plots",
    "plot_timeline": "frames.plots",
    "Cvm": "api.models",
    "CvmState": "api.models",
    "ApiError": "api.errors",
    "AuthError": "api.errors",
    "ConfigurationError": "api.errors",
    "ConflictError": "api.errors",
    "CvmError": "api.errors",
    "DecodeError": "api.errors",
    "InvalidInput": "api.errors",
    "NotFoundError": "api.errors",
    "RateLimited": "api.errors",
    "ReadOnly": "api.errors",
    "ResourceError": "api.errors",
    "ServerError": "api.errors",
    "TransportError": "api.errors",
    "UnsafeRedirect": "api.errors",
    "WatchTimeout": "api.errors",
    # `%load_ext cvm_notebook`: IPython asks for these two
    "load_ipython_extension": "magics",
    "unload_ipython_extension": "magics",
    "error_codes": "api.error_codes.",
    "errors": "errors.",
    "models": "api.models.",
}

__all__ = [
    "ApiError",
    "AuthError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Cvm",
    "CvmError",
    "CvmState",
    "DecodeError",
    "Fleet",
    "FleetPlan",
    "GatesFailed",
    "InvalidInput",
    "LocalCloud",
    "NotFoundError",
    "ProvisionForm",
    "RateLimited",
    "ReadOnly",
    "ResourceError",
    "Secret",
    "ServerError",
    "TransportError",
    "UnsafeRedirect",
    "WatchTimeout",
    "__version__",
    "assert_fleet",
    "attestation_frame",
    "compose_hash",
    "connect",
    "dashboard",
    "encrypt_env",
    "error_codes",
    "errors",
    "fleet_frame",
    "instance_types_frame",
    "login",
    "models",
    "nodes_frame",
    "plot_cost",
    "plot_fleet",
    "plot_timeline",
    "quotas_frame",
    "read_fleet",
]

if not TYPE_CHECKING:  # for a type checker, a name that is not above is a mistake
    __getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES)
