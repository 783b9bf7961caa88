"""What all datasets of episodes share: the field `episode`, splits by episode, draws uniform over timesteps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from omnitok.data import Dataset, Sample, check_split, hold_out

from .episode import Episode


class Episodes(Dataset, frozen=True, kw_only=True):
    """Samples `{"episode": Episode}`; every tenth episode of a seeded shuffle is held out for "eval"."""

    best: (
        Annotated[float, msgspec.Meta(description="share of the training episodes kept, highest returns first", gt=0, le=1)]
        | None
    ) = None

    def episodes(self) -> Sequence[Episode]:
        """All episodes, always in the same order."""
        raise NotImplementedError

    def samples(self) -> Sequence[Sample]:
        """All samples, one an episode, always in the same order."""
        return [{"episode": episode} for episode in self.episodes()]

    def split(self, name: str) -> Sequence[Sample]:
        kept = hold_out(self.samples(), check_split(self, name))
        return best_of(kept, self.best) if name == "train" and self.best is not None else kept

    def weights(self, name: str) -> Sequence[float]:
        """Steps of every episode: drawn so, every timestep is as likely as any other."""
        return [float(len(sample["episode"])) for sample in self.split(name)]

    def about(self, env: str | None, observation_space: dict[str, Any], action_space: dict[str, Any]) -> dict[str, Any]:
        """Metadata of a set of episodes, with what `best` keeps where it is set."""
        facts: dict[str, Any] = {"env": env} if env else {}
        facts |= {"observation_space": observation_space, "action_space": action_space}
        if self.best is not None:
            kept = [float(sample["episode"].rewards.sum()) for sample in self.split("train")]
            facts |= {"best": self.best, "best_episodes": len(kept), "best_lowest_return": min(kept, default=None)}
        return {**facts, "licence": self.licence, "source": self.source}


def best_of(samples: Sequence[Sample], share: float) -> list[Sample]:
    """The share of the episodes with the highest returns, at least one, in the order given; of equals the first."""
    ranked = sorted(range(len(samples)), key=lambda i: -float(samples[i]["episode"].rewards.sum()))
    return [samples[i] for i in sorted(ranked[: max(1, round(share * len(samples)))])]
