"""The life of a CVM: provision, commit, start, stop, restart, delete, replicate, watch."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from cvm_notebook.api import checks
from cvm_notebook.api.errors.tree import DecodeError, InvalidInput
from cvm_notebook.api.http.retry import RetryKind
from cvm_notebook.api.http.transport import Transport
from cvm_notebook.api.models.actions import CvmAction, CvmState, Provision
from cvm_notebook.api.models.cvm import BatchStopped
from cvm_notebook.api.resources import validation
from cvm_notebook.api.resources.base import Endpoints, given
from cvm_notebook.api.resources.cvm_ref import Ref, split
from cvm_notebook.api.resources.intent import Intent, intent_of
from cvm_notebook.api.resources.update_request import UPDATE, update_request
from cvm_notebook.api.resources.watch import OnEvent, Watch, watch
from cvm_notebook.api.verbs import Verb, check_verb

BATCH_STOP_SIZE = 50
_FIELDS: Mapping[Verb, Collection[str]] = {"restart": {"force"}, "replicate": validation.REPLICA}
_PROOFS = {"compose_hash": "X-Compose-Hash", "transaction_hash": "X-Transaction-Hash"}
_UPDATE = frozenset({*UPDATE, *_PROOFS, "prepare_only", "expected_hash", "listed"})
_REDEPLOY = frozenset({"revision_id", "transaction_hash", "expected_hash"})


class Lifecycle(Endpoints):
    """Each call takes the API documentation's mapping, keywords, a plain identifier, or a CVM."""

    def provision_cvm(
        self, request: Mapping[str, object] | None = None, /, **fields: object
    ) -> Provision:
        """Ask for a CVM: step one of two. Nothing runs, and nothing costs, before the commit.

        Parameters
        ----------
        request, **fields
            ``name`` and ``compose_file`` (a Docker Compose text, or the API's mapping with
            ``docker_compose_file``); also ``instance_type``, ``vcpu``, ``memory`` (MB),
            ``disk_size`` (GB), ``region``, ``teepod_id`` (the node), ``image``, ``env_keys`` (the
            names of its environment variables, which become the app compose's ``allowed_envs``:
            the CVM drops any other) and what else the API takes.

        Returns
        -------
        Provision
            ``app_id`` and ``compose_hash`` for `commit_cvm_provision`, and the key that encrypts
            its environment.

        Raises
        ------
        InvalidInput
            Before anything is sent: a bad name, no compose file, one that is not YAML or has no
            services, numbers below zero, a misspelt field.
        ResourceError
            No node has room, the quota or the credit is used up, the name is taken.

        Examples
        --------
        >>> provision = client.provision_cvm(name="docs-app", compose_file=compose)
        >>> len(provision.compose_hash)
        64
        """
        body = validation.provision_request({**checks.mapping("request", request), **fields})
        answer = self._change(RetryKind.PROVISION, "POST", "/cvms/provision", Provision, body)
        allowed = tuple(body["compose_file"].get("allowed_envs") or ())
        return msgspec.structs.replace(answer, allowed_envs=allowed)

    def commit_cvm_provision(
        self, request: Provision | Mapping[str, object] | None = None, /, **fields: object
    ) -> CvmAction:
        """Make the CVM that was provisioned: step two of two. From here on it costs.

        Committing the same ``app_id`` and ``compose_hash`` again gives the CVM that exists; so a
        lost answer is made up for by reading, and never by a second CVM.

        Parameters
        ----------
        request, **fields
            The answer of `provision_cvm`, or ``app_id`` and ``compose_hash``; also
            ``encrypted_env`` and ``env_keys``. Where the key service is on a chain, ``app_id`` is
            that of your contract and not in the answer: give it, ``contract_address`` and
            ``deployer_address`` (0x and 40 hex digits), ``kms_id`` of several key services, and
            ``transaction_hash`` where you have it.

        Raises
        ------
        ResourceError
            With ``error_code`` `CVM_APP_ID_CONFLICT` when the app has another compose hash,
            `HASH_INVALID_OR_EXPIRED` when the provision is unknown or older than 14 days.

        Examples
        --------
        >>> provision = client.provision_cvm(name="docs-two", compose_file=compose)
        >>> client.commit_cvm_provision(provision).name
        'docs-two'
        """
        return _record(
            intent_of(self._transport, "commit", None, validation.commit_request(request, fields))
        )

    def start_cvm(self, cvm: Ref = None, /, **identifier: object) -> CvmAction:
        """Start a stopped CVM; one that runs stays as it is.

        Raises
        ------
        NotFoundError
            No CVM of this workspace has that identifier.
        ConflictError
            It is busy with something else.

        Examples
        --------
        >>> client.start_cvm({"id": "my-app"}).status
        'starting'
        """
        return self._act("start", cvm, identifier)

    def stop_cvm(self, cvm: Ref = None, /, **identifier: object) -> CvmAction:
        """Stop a CVM at once, whatever it is doing; its disk is kept and still billed.

        Raises
        ------
        NotFoundError
            No CVM of this workspace has that identifier.

        Examples
        --------
        >>> client.stop_cvm(name="web-1").status
        'stopping'
        """
        return self._act("stop", cvm, identifier)

    def batch_stop_cvms(
        self, cvms: Iterable[Ref], *, on_sent: Callable[[], None] | None = None
    ) -> BatchStopped:
        """Stop up to fifty CVMs at once, with one request that is never sent twice.

        Unlike `stop_cvm` it skips a CVM that is in the middle of something.

        Parameters
        ----------
        cvms
            Their ids, or the CVMs themselves: ``list(fleet)``, ``frame.index``.
        on_sent
            Called for each attempt that may have reached the service.

        Raises
        ------
        InvalidInput
            There are none, or more than fifty; or it is one text, whose letters are no CVMs.

        Examples
        --------
        >>> client.batch_stop_cvms(["web-5", "web-6"]).total
        2
        """
        ids = [split(cvm, {}, "batch_stop_cvms")[0] for cvm in checks.several("cvms", cvms)]
        if not 0 < len(ids) <= BATCH_STOP_SIZE:
            raise InvalidInput(
                "cvms",
                f"batch_stop_cvms was given {len(ids)}",
                f"Give from 1 to {BATCH_STOP_SIZE}; make several calls for more.",
            )
        return self._change(
            RetryKind.UPDATE,
            "POST",
            "/cvms/batch-stop",
            BatchStopped,
            {"cvm_ids": ids},
            on_sent=on_sent,
        )

    def shutdown_cvm(self, cvm: Ref = None, /, **identifier: object) -> CvmAction:
        """Shut a CVM down, letting its containers stop cleanly. Prefer it to `stop_cvm`.

        Raises
        ------
        NotFoundError, ConflictError
            As for `start_cvm`.

        Examples
        --------
        >>> client.shutdown_cvm("web-2").status
        'shutting_down'
        """
        return self._act("shutdown", cvm, identifier)

    def restart_cvm(
        self, cvm: Ref = None, /, *, force: bool | None = None, **identifier: object
    ) -> CvmAction:
        """Restart a CVM.

        Parameters
        ----------
        force
            Skip the clean shutdown of its containers; False when not given.

        Raises
        ------
        NotFoundError, ConflictError
            As for `start_cvm`.

        Examples
        --------
        >>> client.restart_cvm({"id": "web-3", "force": True}).status
        'restarting'
        """
        return _record(self.intent("restart", cvm, **identifier, **given(force=force)))

    def delete_cvm(self, cvm: Ref = None, /, **identifier: object) -> None:
        """Delete a CVM and all its data. It cannot be undone.

        Raises
        ------
        NotFoundError
            No CVM has that identifier. (One that turns out to be gone after an answer was lost is a
            success.)

        Examples
        --------
        >>> client.delete_cvm({"id": "web-4"})
        """
        self.intent("delete", cvm, **identifier).run()

    def replicate_cvm(
        self, cvm: Ref = None, /, *, node_id: int | None = None, **fields: object
    ) -> CvmAction:
        """Make another CVM of the same app: same compose file, its own disk, name and identity.

        Parameters
        ----------
        node_id
            The node to put it on; the service chooses when not given.

        Returns
        -------
        CvmAction
            The replica.

        Raises
        ------
        ResourceError
            No room, no image on that node, or several CVMs of the app and none named.
        TransportError
            With ``sent`` true when no answer came and no replica is to be seen: it is not sent
            again, since each replica costs.

        Examples
        --------
        >>> client.replicate_cvm({"id": "my-app"}).app_id == client.get_cvm_info("my-app").app_id
        True
        """
        return _record(self.intent("replicate", cvm, **fields, **given(node_id=node_id)))

    def watch_cvm_state(
        self,
        cvm: Ref = None,
        /,
        *,
        target: str | None = None,
        interval: int | None = None,
        timeout: int | None = None,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        on_event: OnEvent | None = None,
        **identifier: object,
    ) -> CvmState:
        """Wait until a CVM has a status, over server-sent events. Ctrl-C ends the wait at once.

        Parameters
        ----------
        target
            The status to wait for, in any case: ``"running"``, ``"Stopped"``.
        interval
            Seconds between two states, 5 to 30; 5 when not given.
        timeout
            Seconds of one attempt, 10 to 600; 300 when not given. The service is asked to end the
            stream by then; two seconds later it is ended here, whatever the service sends.
        max_retries
            Further attempts after one that ended without the target; as many as an hour holds when
            not given. So the watch ends after at most ``(max_retries + 1) * (timeout + 2)`` seconds
            and the delays between them, or after an hour.
        retry_delay
            Seconds between two attempts; 5.0 when not given. A stream that breaks is opened again
            at once.
        on_event
            Called with each CvmState as it arrives.

        Returns
        -------
        CvmState
            The state that reached the target; its ``status`` is spelled as `target` was.

        Raises
        ------
        TargetUnreachable
            The CVM failed, or is gone: the target cannot come.
        WatchTimeout
            The attempts are used up; it is a builtin TimeoutError too.

        Examples
        --------
        >>> client.watch_cvm_state({"id": "my-app", "target": "Running", "timeout": 120}).status
        'Running'
        """
        asked = given(
            target=target,
            interval=interval,
            timeout=timeout,
            max_retries=max_retries,
            retry_delay=retry_delay,
        )
        name, rest = split(cvm, {**identifier, **asked}, "watch_cvm_state", validation.WATCH)
        return watch(
            self._transport, Watch(name, on_event=on_event, **validation.watch_request(rest))
        )

    # --- for the live fleet ---------------------------------------------------------------------

    def intent(self, verb: Verb, cvm: Ref = None, /, **fields: Any) -> Intent:
        """Return a change that is checked and not sent yet: what the methods above send.

        Parameters
        ----------
        verb
            What to do; a commit takes ``app_id`` and ``compose_hash``, and the ``name`` that its
            provision has sent, which is not sent again.
        cvm, **fields
            As of the method of that verb.

        Raises
        ------
        InvalidInput
            No CVM is named, or a field is unknown.
        """
        verb = check_verb(verb)
        if verb == "commit":
            fields.pop("name", None)
            return intent_of(self._transport, verb, None, validation.commit_request(None, fields))
        if verb == "update":
            return update_intent(self._transport, cvm, fields)
        if verb == "redeploy":
            return redeploy_intent(self._transport, cvm, fields)
        allowed = _FIELDS.get(verb, ())
        target, rest = split(cvm, fields, f"{verb}_cvm", allowed)
        return intent_of(self._transport, verb, target, _body(verb, rest))

    def _act(self, verb: Verb, cvm: Ref, identifier: dict[str, object]) -> CvmAction:
        return _record(self.intent(verb, cvm, **identifier))


def update_intent(transport: Transport, cvm: Ref, fields: Mapping[str, Any]) -> Intent:
    """Return an update that is checked and not sent yet.

    With the proofs of a registered compose hash alone it finishes what waited for them.
    """
    target, rest = split(cvm, fields, "update_cvm", _UPDATE)
    proofs = {name: rest.pop(name, None) for name in _PROOFS}
    headers = tuple(
        (header, validation.hexadecimal(name, proofs[name]))
        for name, header in _PROOFS.items()
        if proofs[name] is not None
    )
    if rest.pop("prepare_only", False):
        headers = (*headers, ("X-Prepare-Only", "true"))
    expected, listed = rest.pop("expected_hash", None), rest.pop("listed", None)
    bare = not rest and (listed is not None or len(headers) == len(_PROOFS))
    body = {} if bare else update_request(rest)
    return intent_of(
        transport,
        "update",
        target,
        body,
        headers=headers,
        expected_hash=expected,
        listed=None if listed is None else checks.boolean("listed", listed),
    )


def redeploy_intent(transport: Transport, cvm: Ref, fields: Mapping[str, Any]) -> Intent:
    """Return a redeployment that is checked and not sent yet."""
    target, rest = split(cvm, fields, "redeploy_cvm_revision", _REDEPLOY)
    expected = rest.pop("expected_hash", None)
    checks.text("revision_id", rest.get("revision_id"))
    if rest.get("transaction_hash") is not None:
        validation.hexadecimal("transaction_hash", rest["transaction_hash"])
    return intent_of(transport, "redeploy", target, rest, expected_hash=expected)


def _body(verb: Verb, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if verb == "restart":
        return {"force": checks.boolean("force", fields.get("force", False))}
    return validation.replica_request(dict(fields)) if verb == "replicate" else None


def _record(intent: Intent) -> CvmAction:
    """Return the record that every action but a deletion answers with."""
    answer = intent.run()
    if answer is None:
        raise DecodeError(f"{intent.verb}: the answer holds no record", where=intent.verb)
    return answer
