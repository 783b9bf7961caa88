"""What all datasets of episodes share: the field `episode`, splits by episode, draws uniform over timesteps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omnitok.data import Dataset, Sample, check_split, hold_out

from .episode import Episode


class Episodes(Dataset, frozen=True, kw_only=True):
    """Samples `{"episode": Episode}`; every tenth episode of a seeded shuffle is held out for "eval"."""

    def episodes(self) -> Sequence[Episode]:
        """All episodes, always in the same order."""
        raise NotImplementedError

    def split(self, name: str) -> Sequence[Sample]:
        return [{"episode": episode} for episode in hold_out(self.episodes(), check_split(self, name))]

    def weights(self, name: str) -> Sequence[float]:
        """Steps of every episode: drawn so, every timestep is as likely as any other."""
        return [float(len(sample["episode"])) for sample in self.split(name)]

    def about(self, env: str | None, observation_space: dict[str, Any], action_space: dict[str, Any]) -> dict[str, Any]:
        """Metadata of a set of episodes."""
        spaces = {"observation_space": observation_space, "action_space": action_space}
        return {**({"env": env} if env else {}), **spaces, "licence": self.licence, "source": self.source}
