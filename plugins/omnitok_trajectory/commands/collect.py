"""`omnitok rl collect`: episodes of a policy as a Minari data set."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter, validators

from .tables import show

Share = validators.Number(gte=0, lte=1)


def collect(
    env: Annotated[str, Parameter(help="Gymnasium id, such as CartPole-v1 or omnitok/KeyToDoor-v0.")],
    /,
    *,
    out: Annotated[str, Parameter(help="Minari id such as mine/cartpole-v0, or a folder.")],
    policy: Annotated[
        str, Parameter(help="scripted, random, or sb3:FILE (its pickles run code: trusted files only).")
    ] = "scripted",
    episodes: Annotated[int, Parameter(help="How many.", validator=validators.Number(gte=1))] = 100,
    quality: Annotated[
        float | None,
        Parameter(help="Share of actions that are the policy's own, 0 to 1; the others are random.", validator=Share),
    ] = None,
    mix: Annotated[bool, Parameter(help="Every quality from 1 to 0, one after another.")] = False,
    seed: Annotated[
        int,
        Parameter(
            help="Start states and random actions; evaluation meets none of them.", validator=validators.Number(gte=0, lte=9)
        ),
    ] = 0,
    format: Annotated[Literal["hdf5", "arrow"], Parameter(help="How Minari stores it; arrow is smaller.")] = "hdf5",
    force: Annotated[bool, Parameter(help="Replace the data set that is there.")] = False,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
) -> int:
    """Play an environment and write what happened as a Minari data set, pictures without loss.

    A recipe reads it as `data = { name = "trajectory/minari", dataset = "OUT" }`.

    omnitok rl collect CartPole-v1 --mix --episodes 275 --out mine/cartpole-v0
    """
    from ..collecting import collected, policy_of, rates_of, summary
    from ..controllers import env_seed
    from ..environments import make
    from ..recording import check_free, place, write_minari

    rates = rates_of(policy, episodes, quality, mix)
    check_free(place(out)[1], force)
    controller = policy_of(policy, env)
    made = make(env, disable_env_checker=True)
    try:
        found = collected(made, controller, rates, seed)
        how = "qualities from 1 to 0" if mix else f"quality {1 - rates[0]:g}"
        facts = {
            "algorithm_name": policy.partition(":")[0],
            "description": f"{episodes} episodes of the policy {policy}, {how}, seed {seed}; by omnitok rl collect",
        }
        folder = write_minari(out, found, made, format, [env_seed(seed, i) for i in range(episodes)], force, facts)
    finally:
        made.close()
    show({"written": str(folder), "policy": policy, **summary(env, found)}, json)
    return 0
