"""``%cvm apply``, ``%cvm update`` and ``%%cvm deploy --update``: applying declarations."""

import shlex
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.apply.plan import Applied, ApplyPlan
from cvm_notebook.deploy.apply.planning import plan_apply, plan_updates
from cvm_notebook.deploy.declaration import Changes, read_apps
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.fleet.fleet import Fleet
from cvm_notebook.magics.environment import check_askable, environment, typed
from cvm_notebook.magics.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotAllApplied(CvmError):  # noqa: N818 - the tree names what happened
    """A declaration that did not come true for some CVMs; `applied` has each of them."""

    def __init__(self, applied: Applied) -> None:
        failures = "; ".join(f"{row.step.name}: {row.why}" for row in applied.failed)
        super().__init__(
            f"{len(applied.failed)} of {len(applied)} failed: {failures}",
            hint="fleet.operations() has what was sent.",
        )
        self.applied = applied


def apply(session: Session, args: Namespace) -> ApplyPlan | Applied:
    """Apply a YAML file of apps; what would be lost is shown first, and not sent."""
    declared = read_apps(args.file, {})
    command = ["apply", shlex.quote(args.file), *(["--wait"] if args.wait else [])]
    return _done(plan_apply(session.fleet(), declared), args, f"%cvm {' '.join(command)} --yes")


def update(session: Session, args: Namespace) -> ApplyPlan | Applied:
    """Change one CVM; what would be lost is shown first, and not sent."""
    fleet = session.fleet()
    row = fleet.snapshot().find(args.name)
    named = {
        "compose_file": args.compose,
        "instance_type": args.type,
        "disk_size": args.disk,
        "image": args.image,
        "env": _values(session, args),
    }
    plan = plan_updates(fleet, [row], Changes.read(named))
    return _done(plan, args, f"the same line with --yes: %cvm update {shlex.quote(args.name)} ...")


def apply_cell(session: Session, args: Namespace, compose: str) -> ApplyPlan | Applied:
    """Create a CVM of the compose file in a cell, or update the one that is there."""
    named: dict[str, Any] = {
        "name": args.name,
        "compose_file": compose,
        "instance_type": args.type,
        "region": args.region or None,
        "env": _values(session, args),
    }
    fleet: Fleet = session.fleet()
    plan = plan_apply(fleet, read_apps(None, named))
    return _done(plan, args, "the same cell with --yes")


def _values(session: Session, args: Namespace) -> "Mapping[str, Secret] | None":
    """Return the variables that are named, those without a value typed; None where none is."""
    if not args.env and args.env_file is None:
        return None
    env: EnvTable = environment(args.env, args.env_file)
    if env.missing and args.dry_run:
        return {name: env.values().get(name, Secret("")) for name in env.names}
    check_askable(env, session.prompt_kind(wait=True) if env.missing else "prompt")
    for name in env.missing:
        env.put(name, typed(name))
    return env.values()


def _done(plan: ApplyPlan, args: Namespace, again: str) -> ApplyPlan | Applied:
    if args.dry_run:
        return plan
    if plan.phrase is not None and not args.yes:
        print(f"Preview; nothing was sent. To run it: {again}")
        return plan
    applied = plan.execute(confirm=plan.phrase, wait=args.wait)
    if not applied.ok:
        raise NotAllApplied(applied)
    return applied
