"""Changes to a CVM that exists: environment, compose file, script, size, visibility, image."""

from collections.abc import Mapping
from typing import TypeVar

from cvm_notebook.api.compose.hashing import encrypt_env
from cvm_notebook.api.compose.validation import check_compose_file
from cvm_notebook.api.errors.tree import ApiError, InvalidInput
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Request, to_json
from cvm_notebook.api.models.actions import CvmAction, HashRequired, UpdateAccepted
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.decode import decode_accepted
from cvm_notebook.api.resources import validation as checks
from cvm_notebook.api.resources.attestations import Attestations
from cvm_notebook.api.resources.base import given
from cvm_notebook.api.resources.cvm_ref import Ref, path_segment, split
from cvm_notebook.api.secret import Secret

T = TypeVar("T")

HASH_REQUIRED = 465


class Updates(Attestations):
    """Updating calls.

    Most answer at once with UpdateAccepted, while the CVM goes through ``updating``;
    `watch_cvm_state` waits for it. Its fields are None where the service answers with nothing but
    202. Where the app's key service is on a chain and does not know the
    new compose hash yet, they answer with HashRequired: register the hash, then call again with
    ``compose_hash`` and ``transaction_hash``. An update whose answer is lost is not sent again: the
    error says so by ``sent``.
    """

    def update_envs(
        self,
        cvm: Ref = None,
        /,
        *,
        env: Mapping[str, str | Secret] | None = None,
        encrypted_env: str | None = None,
        env_keys: list[str] | None = None,
        compose_hash: str | None = None,
        transaction_hash: str | None = None,
        **identifier: object,
    ) -> UpdateAccepted | HashRequired:
        """Replace the environment variables of a CVM.

        Parameters
        ----------
        env
            Names and values. They are encrypted here, for the key of this CVM, once its key service
            has signed that; only names leave in the clear.
        encrypted_env, env_keys
            Instead of `env`: what `encrypt_env` gave, and the names in it.

        Raises
        ------
        NotTrustedError
            The key is not signed by the key service of the CVM; nothing was encrypted or sent.

        Examples
        --------
        >>> client.update_envs("my-app", env={"LOG_LEVEL": "debug"}).status
        'in_progress'
        """
        target, _ = split(cvm, identifier, "update_envs")
        deadline = self._deadline()
        if (env is None) == (encrypted_env is None):
            raise InvalidInput("env", "give either env or encrypted_env", "One of the two.")
        if env is not None:
            env_keys = checks.env_names("env", env)
            encrypted_env = encrypt_env(self._env_pubkey(target, deadline), env)
        elif env_keys is not None:
            env_keys = checks.env_names("env_keys", env_keys)
        body = given(
            encrypted_env=checks.encrypted_env("encrypted_env", encrypted_env),
            env_keys=env_keys,
            compose_hash=compose_hash,
            transaction_hash=transaction_hash,
        )
        path = f"/cvms/{path_segment(target)}/envs"
        return self._update(path, to_json(body), deadline=deadline)

    def update_docker_compose(
        self,
        cvm: Ref = None,
        docker_compose: str = "",
        /,
        *,
        compose_hash: str | None = None,
        transaction_hash: str | None = None,
        **identifier: object,
    ) -> UpdateAccepted | HashRequired:
        """Replace the Docker Compose file of a CVM by another text.

        Raises
        ------
        InvalidInput
            It is not YAML, or has no services; nothing was sent.

        Examples
        --------
        >>> client.update_docker_compose("web-1", compose).status
        'in_progress'
        """
        target, _ = split(cvm, identifier, "update_docker_compose")
        text = check_compose_file(docker_compose, "docker_compose")
        path = f"/cvms/{path_segment(target)}/docker-compose"
        return self._update(path, text.encode(), "text/yaml", compose_hash, transaction_hash)

    def update_pre_launch_script(
        self,
        cvm: Ref = None,
        script: str = "",
        /,
        *,
        compose_hash: str | None = None,
        transaction_hash: str | None = None,
        **identifier: object,
    ) -> UpdateAccepted | HashRequired:
        """Replace the script that runs before the containers of a CVM start."""
        target, _ = split(cvm, identifier, "update_pre_launch_script")
        path = f"/cvms/{path_segment(target)}/pre-launch-script"
        content = checks.script("script", script).encode()
        return self._update(path, content, "text/plain", compose_hash, transaction_hash)

    def update_resources(
        self,
        cvm: Ref = None,
        /,
        *,
        vcpu: int | None = None,
        memory: int | None = None,
        disk_size: int | None = None,
        instance_type: str | None = None,
        allow_restart: bool | None = None,
        **identifier: object,
    ) -> UpdateAccepted | HashRequired:
        """Give a CVM another size.

        Parameters
        ----------
        vcpu, memory, disk_size
            Number, MB and GB; a disk only grows.
        instance_type
            Instead of `vcpu` and `memory`.
        allow_restart
            Whether it may restart for it.
        """
        target, _ = split(cvm, identifier, "update_resources")
        body = checks.resources_request(
            given(
                vcpu=vcpu,
                memory=memory,
                disk_size=disk_size,
                instance_type=instance_type,
                allow_restart=allow_restart,
            )
        )
        return self._update(f"/cvms/{path_segment(target)}/resources", to_json(body))

    def update_visibility(
        self,
        cvm: Ref = None,
        /,
        *,
        public_logs: bool | None = None,
        public_sysinfo: bool | None = None,
        public_tcbinfo: bool | None = None,
        **identifier: object,
    ) -> CvmAction:
        """Say what of a CVM anybody may see; what is not given stays as it is."""
        target, _ = split(cvm, identifier, "update_visibility")
        path = f"/cvms/{path_segment(target)}"
        wanted = given(
            public_logs=public_logs, public_sysinfo=public_sysinfo, public_tcbinfo=public_tcbinfo
        )
        for name, value in wanted.items():
            checks.boolean(name, value)
        if not wanted:
            raise InvalidInput(
                "update_visibility", "nothing to change", "Give public_logs=True or the like."
            )
        deadline = self._deadline()
        if public_logs is None or public_sysinfo is None:  # the service wants both
            now = self._read(path, Cvm, deadline=deadline)
            wanted = {
                "public_logs": bool(now.public_logs),
                "public_sysinfo": bool(now.public_sysinfo),
                **wanted,
            }
        path += "/visibility"
        return self._change(RetryKind.UPDATE, "PATCH", path, CvmAction, wanted, deadline=deadline)

    def update_os_image(
        self, cvm: Ref = None, os_image_name: str = "", /, **identifier: object
    ) -> UpdateAccepted | HashRequired:
        """Put a CVM on another OS image, by its name."""
        target, _ = split(cvm, identifier, "update_os_image")
        if not os_image_name:
            raise InvalidInput(
                "os_image_name", "is empty", "client.list_os_images() shows the names."
            )
        body = to_json({"os_image_name": checks.text("os_image_name", os_image_name)})
        return self._update(f"/cvms/{path_segment(target)}/os-image", body)

    # --- shared ------------------------------------------------------------------------------

    def _update(
        self,
        path: str,
        body: bytes,
        content_type: str = "application/json",
        compose_hash: str | None = None,
        transaction_hash: str | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> UpdateAccepted | HashRequired:
        proofs = {"X-Compose-Hash": compose_hash, "X-Transaction-Hash": transaction_hash}
        headers = tuple((name, checks.hexadecimal(name, v)) for name, v in proofs.items() if v)
        request = Request(RetryKind.UPDATE, "PATCH", path, body, content_type, headers)
        try:
            return self._transport.call(
                request,
                lambda reply: decode_accepted(reply.body, UpdateAccepted, f"PATCH {path}"),
                deadline=deadline,
            )
        except ApiError as error:
            if error.status == HASH_REQUIRED:
                return HashRequired.from_error(error)
            raise

    def _env_pubkey(self, target: str, deadline: Deadline) -> str:
        found = self._read(f"/cvms/{path_segment(target)}", Cvm, deadline=deadline)
        key = found.kms_info.encrypted_env_pubkey if found.kms_info is not None else None
        if found.kms_info is None or key is None:
            raise InvalidInput(
                "env",
                f"the service gives no encryption key for {target!r}",
                "Encrypt with the key of get_app_env_pubkey and give encrypted_env.",
            )
        signer = found.kms_info.k256_pubkey
        return self.get_checked_env_key(
            found.app_id, expected=key, signer=signer, deadline=deadline
        )
