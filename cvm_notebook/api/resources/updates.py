"""Changes to a CVM that exists: environment, compose file, script, size, visibility, image."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from cvm_notebook.api import checks
from cvm_notebook.api.compose.hashing import encrypt_env
from cvm_notebook.api.compose.validation import check_compose_file
from cvm_notebook.api.errors.tree import ApiError, InvalidInput
from cvm_notebook.api.http.deadline import Deadline
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Request, query, to_json
from cvm_notebook.api.models.actions import CvmAction, HashRequired, Redeployed, UpdateAccepted
from cvm_notebook.api.models.cvm import Cvm
from cvm_notebook.api.models.decode import decode_accepted
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.attestations import Attestations
from cvm_notebook.api.resources.base import given
from cvm_notebook.api.resources.cvm_ref import Ref, cvm_path, path_segment, split
from cvm_notebook.api.resources.intent import Intent
from cvm_notebook.api.resources.lifecycle import redeploy_intent, update_intent
from cvm_notebook.api.resources.update_request import UPDATE, allowed_after
from cvm_notebook.api.secret import Secret

T = TypeVar("T")

HASH_REQUIRED = 465
_ON_THE_WIRE: Final = {"compose_file": "docker_compose_file", "env_keys": "allowed_envs"}
_REDEPLOY: Final = frozenset({"revision_id", "transaction_hash"})
_UPDATE_NAMES: Final = frozenset(
    ({*UPDATE, *_ON_THE_WIRE} - {*_ON_THE_WIRE.values()})
    | {"env", "listed", "prepare_only", "compose_hash", "transaction_hash"}
)


class Updates(Attestations):
    """Updating calls.

    Most answer at once with UpdateAccepted, while the CVM goes through ``updating``;
    `watch_cvm_state` waits for it. `update_cvm` changes several things in one restart. The fields
    of the answer are None where the service answers with nothing but 202. Where the app's key
    service is on a chain and does not know the new compose hash yet, they answer with HashRequired:
    register the hash, then call again with ``compose_hash`` and ``transaction_hash``. An update
    whose answer is lost is not sent again: the error says so by ``sent``.
    """

    def update_cvm(
        self,
        cvm: Ref = None,
        /,
        *,
        compose_file: str | None = None,
        pre_launch_script: str | None = None,
        env: Mapping[str, str | Secret] | None = None,
        encrypted_env: str | None = None,
        env_keys: list[str] | None = None,
        instance_type: str | None = None,
        vcpu: int | None = None,
        memory: int | None = None,
        disk_size: int | None = None,
        gpus: Mapping[str, object] | None = None,
        image: str | None = None,
        public_logs: bool | None = None,
        public_sysinfo: bool | None = None,
        public_tcbinfo: bool | None = None,
        listed: bool | None = None,
        user_config: str | None = None,
        shutdown_timeout: int | None = None,
        allow_force_stop: bool | None = None,
        prepare_only: bool = False,
        compose_hash: str | None = None,
        transaction_hash: str | None = None,
        **identifier: object,
    ) -> UpdateAccepted | HashRequired:
        """Change anything of a CVM in one request, and so in one restart.

        What is not given stays as it is. An answer that is lost is read back, and nothing is sent
        again.

        Parameters
        ----------
        compose_file
            The text of a Docker Compose file.
        pre_launch_script
            What runs before the containers start; empty for none.
        env
            Names and values: all of them, for they replace what is there. They are encrypted here,
            for the key of this CVM, once its key service has signed that.
        encrypted_env, env_keys
            Instead of `env`: what `encrypt_env` gave, and the names in it.
        instance_type
            Instead of `vcpu` and `memory`.
        vcpu, memory, disk_size
            Number, MB and GB; a disk only grows.
        gpus
            As the API takes them.
        image
            The OS image, by its name.
        listed
            Whether it is in Phala's directory of apps: a request of its own, and no restart.
        user_config
            A text, as the service keeps it.
        shutdown_timeout
            Seconds that its containers have to end, 10 to 1200.
        allow_force_stop
            Stop it hard when they do not end by then.
        prepare_only
            Ask for a token by which others commit it, as a multisig does; nothing is changed yet.
        compose_hash, transaction_hash
            Where the keys are managed on a chain: of the `HashRequired` that the first call
            returned, and of the transaction that registered it. Alone they finish that update.

        Raises
        ------
        InvalidInput
            Before anything is sent: nothing to change, a compose file that is none, a number out
            of bounds.
        NotTrustedError
            The key is not signed by the key service of the CVM; nothing was encrypted or sent.
        ConflictError
            It is in the middle of something.
        TransportError
            With ``sent`` true when no answer came and nothing of it is to be seen.

        Examples
        --------
        >>> client.update_cvm("web-7", compose_file=compose, disk_size=40).status
        'in_progress'
        """
        named = given(
            compose_file=compose_file,
            pre_launch_script=pre_launch_script,
            env=env,
            encrypted_env=encrypted_env,
            env_keys=env_keys,
            instance_type=instance_type,
            vcpu=vcpu,
            memory=memory,
            disk_size=disk_size,
            gpus=gpus,
            image=image,
            public_logs=public_logs,
            public_sysinfo=public_sysinfo,
            public_tcbinfo=public_tcbinfo,
            listed=listed,
            user_config=user_config,
            shutdown_timeout=shutdown_timeout,
            allow_force_stop=allow_force_stop,
            prepare_only=checks.boolean("prepare_only", prepare_only) or None,
            compose_hash=compose_hash,
            transaction_hash=transaction_hash,
        )
        target, fields = split(cvm, {**identifier, **named}, "update_cvm", _UPDATE_NAMES)
        for field, wire_name in _ON_THE_WIRE.items():
            if field in fields:
                fields[wire_name] = fields.pop(field)
        values: Mapping[str, str | Secret] | None = fields.pop("env", None)
        if fields.keys() == {"listed"} and values is None:
            self.update_listed(target, listed=fields["listed"])
            return UpdateAccepted(status="done")
        if fields.keys() - {"listed"} or values is None:
            update_intent(self._transport, target, fields)  # refused before anything is sent
        deadline = self._deadline()
        if values is not None:
            _check_env(values, fields)
            fields |= self.sealed_env(target, values, deadline=deadline)
        intent = update_intent(self._transport, target, fields)
        return _or_hash_required(lambda: _accepted(intent, deadline))

    def sealed_env(
        self,
        cvm: str,
        env: Mapping[str, str | Secret],
        *,
        allowed: Iterable[str] | None = None,
        deadline: Deadline | None = None,
    ) -> dict[str, object]:
        """Return what an update sends of an environment: its names, and it encrypted.

        Parameters
        ----------
        cvm
            Whose key encrypts it.
        allowed
            The names that its app compose allows now, whose order is kept; read where not given.

        Raises
        ------
        NotTrustedError
            The key is not signed by the key service of the CVM; nothing was encrypted.
        """
        names = validation.env_names("env", env)
        limit = deadline or self._deadline()
        found = self._read(f"/cvms/{path_segment(cvm)}", Cvm, deadline=limit)
        compose = found.compose_file if isinstance(found.compose_file, Mapping) else {}
        now = list(allowed if allowed is not None else compose.get("allowed_envs") or ())
        sealed: dict[str, object] = {
            "encrypted_env": encrypt_env(self._env_pubkey(cvm, found, limit), env)
        }
        after = allowed_after(now, names)
        return sealed if after == now else {**sealed, "allowed_envs": after}

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
            env_keys = validation.env_names("env", env)
            found = self._read(f"/cvms/{path_segment(target)}", Cvm, deadline=deadline)
            encrypted_env = encrypt_env(self._env_pubkey(target, found, deadline), env)
        elif env_keys is not None:
            env_keys = validation.env_names("env_keys", env_keys)
        body = given(
            encrypted_env=validation.encrypted_env("encrypted_env", encrypted_env),
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
        path = cvm_path(cvm, identifier, "update_docker_compose", "/docker-compose")
        text = check_compose_file(docker_compose, "docker_compose")
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
        path = cvm_path(cvm, identifier, "update_pre_launch_script", "/pre-launch-script")
        content = validation.script("script", script).encode()
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
        **identifier: object,
    ) -> UpdateAccepted | HashRequired:
        """Give a CVM another size; it restarts for it.

        Parameters
        ----------
        vcpu, memory, disk_size
            Number, MB and GB; a disk only grows.
        instance_type
            Instead of `vcpu` and `memory`.
        """
        target, _ = split(cvm, identifier, "update_resources")
        return self.update_cvm(
            target, vcpu=vcpu, memory=memory, disk_size=disk_size, instance_type=instance_type
        )

    def update_visibility(
        self,
        cvm: Ref = None,
        /,
        *,
        public_logs: bool | None = None,
        public_sysinfo: bool | None = None,
        public_tcbinfo: bool | None = None,
        **identifier: object,
    ) -> UpdateAccepted | HashRequired:
        """Change which data of a CVM is public; what is not given stays as it is. It restarts."""
        target, _ = split(cvm, identifier, "update_visibility")
        return self.update_cvm(
            target,
            public_logs=public_logs,
            public_sysinfo=public_sysinfo,
            public_tcbinfo=public_tcbinfo,
        )

    def update_listed(self, cvm: Ref = None, /, *, listed: bool, **identifier: object) -> CvmAction:
        """Say whether a CVM is in Phala's public directory of apps; it goes on running.

        To say it twice is to say it once, so a lost answer is made up for by sending it again.
        """
        path = cvm_path(cvm, identifier, "update_listed", "/listed")
        body = {"listed": checks.boolean("listed", listed)}
        return self._change(RetryKind.PROVISION, "PATCH", path, CvmAction, body)

    def update_os_image(
        self, cvm: Ref = None, os_image_name: str = "", /, **identifier: object
    ) -> UpdateAccepted | HashRequired:
        """Put a CVM on another OS image, by its name."""
        path = cvm_path(cvm, identifier, "update_os_image", "/os-image")
        if not os_image_name:
            raise InvalidInput(
                "os_image_name", "is empty", "client.list_os_images() shows the names."
            )
        body = to_json({"os_image_name": checks.text("os_image_name", os_image_name)})
        return self._update(path, body)

    # --- back to what was ----------------------------------------------------------------------

    def redeploy_cvm_revision(
        self,
        cvm: Ref = None,
        /,
        *,
        revision_id: str,
        transaction_hash: str | None = None,
        **identifier: object,
    ) -> UpdateAccepted | HashRequired:
        """Take a CVM to a revision of its app, in one restart.

        It gets the app compose, the environment variables and the user config of that revision; its
        size and its image stay. An answer that is lost is read back, and nothing is sent again.

        Parameters
        ----------
        revision_id
            As `get_app_revisions` gives it.
        transaction_hash
            Of the transaction that registered the compose hash, where the keys are on a chain.

        Raises
        ------
        NotFoundError
            There is no such CVM, or no such revision.
        ConflictError
            It is in the middle of something.
        TransportError
            With ``sent`` true when no answer came and nothing of it is to be seen.

        Examples
        --------
        >>> first = client.get_app_revisions(client.get_cvm_info("web-6").app_id)[-1]
        >>> client.redeploy_cvm_revision("web-6", revision_id=first.revision_id).status
        'in_progress'
        """
        named = given(revision_id=revision_id, transaction_hash=transaction_hash)
        target, fields = split(cvm, {**identifier, **named}, "redeploy_cvm_revision", _REDEPLOY)
        intent = redeploy_intent(self._transport, target, fields)
        return _or_hash_required(lambda: _accepted(intent))

    def redeploy_app_revision(
        self,
        app_id: str,
        revision_id: str,
        *,
        vm_uuids: Iterable[str] = (),
        transaction_hash: str | None = None,
    ) -> Redeployed | HashRequired:
        """Take several CVMs of an app to one of its revisions, all at once.

        It is sent once, and not again when its answer is lost. `App.rollback` does so one by one.

        Parameters
        ----------
        vm_uuids
            Of which CVMs; an app of a single one needs none.

        Raises
        ------
        NotFoundError
            There is no such app, revision, or CVM of it.
        ConflictError
            One of them is in the middle of something; none was changed.
        TransportError
            With ``sent`` true where nobody can tell whether it was carried out.
        """
        if transaction_hash is not None:
            validation.hexadecimal("transaction_hash", transaction_hash)
        revision = path_segment(checks.text("revision_id", revision_id))
        path = f"/apps/{path_segment(app_id)}/revisions/{revision}/redeploy"
        uuids = [checks.text("vm_uuids", one) for one in checks.several("vm_uuids", vm_uuids)]
        path += query(transaction_hash=transaction_hash)
        body = {"vm_uuids": uuids} if uuids else None
        return _or_hash_required(
            lambda: self._change(RetryKind.UPDATE, "POST", path, Redeployed, body)
        )

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
        shown = given(**proofs)
        headers = tuple((name, validation.hexadecimal(name, v)) for name, v in shown.items())
        request = Request(RetryKind.UPDATE, "PATCH", path, body, content_type, headers)
        return _or_hash_required(
            lambda: self._transport.call(
                request,
                lambda reply: decode_accepted(reply.body, UpdateAccepted, request.where),
                deadline=deadline,
            )
        )

    def _env_pubkey(self, target: str, found: Cvm, deadline: Deadline) -> str:
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


def _accepted(intent: Intent, deadline: Deadline | None = None) -> UpdateAccepted:
    intent.run(deadline)
    return intent.accepted or UpdateAccepted()


def _or_hash_required(change: Callable[[], T]) -> T | HashRequired:
    """Return what a change answers, or which hash must be registered on a chain before it."""
    try:
        return change()
    except ApiError as error:
        if error.status == HASH_REQUIRED:
            return HashRequired.from_error(error)
        raise


def _check_env(env: object, fields: Mapping[str, Any]) -> None:
    if "encrypted_env" in fields:
        raise InvalidInput("env", "give either env or encrypted_env", "One of the two.")
    if not isinstance(env, Mapping):  # what it is may be values, and is not shown
        problem = f"it is {type(env).__name__}, not a mapping"
        raise InvalidInput("env", problem, "Give a dict of names and values.")
    validation.env_names("env", env)
