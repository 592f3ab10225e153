"""Run confidential virtual machines from a notebook.

``import cvm_notebook as cvm`` costs nothing: each public name is loaded when it is first used
(PEP 562).
"""

from cvm_notebook._lazy import lazy_names

__version__ = "0.1.0"

# lazy name -> the module that holds it; with a dot at its end, the module itself
_HOMES = {
    "Client": "api.client",
    "Fleet": "fleet.fleet",
    "FleetPlan": "fleet.selection",
    "LocalCloud": "local",
    "ProvisionForm": "widgets.form.form",
    "Secret": "api.secret",
    "connect": "connection",
    "login": "widgets.login",
    "dashboard": "fleet.dashboard",
    "Policy": "attest.policy.policy",
    "Verdict": "attest.verdict",
    "known_images": "attest.images",
    "learn_image": "attest.images",
    "verify": "attest.verify",
    "verify_bundle": "attest.bundle",
    "verify_webhook": "api.webhook_signature",
    "WebhookRejected": "api.webhook_signature",
    "compose_hash": "api.compose.hashing",
    "encrypt_env": "api.compose.hashing",
    "GatesFailed": "frames",
    "assert_fleet": "frames",
    "attestation_frame": "frames",
    "deliveries_frame": "frames",
    "fleet_frame": "frames",
    "instance_types_frame": "frames",
    "nodes_frame": "frames",
    "quotas_frame": "frames",
    "usage_frame": "frames",
    "exposure_frame": "frames",
    "ssh_keys_frame": "frames",
    "read_fleet": "frames",
    "plot_cost": "frames.plots",
    "plot_fleet": "frames.plots",
    "plot_metrics": "frames",
    "plot_timeline": "frames.plots",
    "Cvm": "api.models.cvm",
    "CvmState": "api.models.actions",
    "ApiError": "api.errors.tree",
    "AuthError": "api.errors.tree",
    "ConfigurationError": "api.errors.tree",
    "ConflictError": "api.errors.tree",
    "CvmError": "api.errors.tree",
    "DecodeError": "api.errors.tree",
    "InvalidInput": "api.errors.tree",
    "NotFoundError": "api.errors.tree",
    "RateLimited": "api.errors.tree",
    "ReadOnly": "api.errors.tree",
    "ResourceError": "api.errors.tree",
    "ServerError": "api.errors.tree",
    "TransportError": "api.errors.tree",
    "UnsafeRedirect": "api.errors.tree",
    "WatchTimeout": "api.errors.tree",
    "error_codes": "api.errors.codes.",
    "errors": "errors.",
    "models": "api.models.",
}
# hooks of IPython for `%load_ext cvm_notebook`
_OF_IPYTHON = dict.fromkeys(
    ("load_ipython_extension", "unload_ipython_extension"), "magics.extension"
)

__all__ = list(_HOMES)
__all__ += ["__version__"]

__getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES | _OF_IPYTHON)
