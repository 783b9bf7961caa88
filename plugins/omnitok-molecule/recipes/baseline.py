"""ESOL without a Transformer: ridge regression and random forests on fingerprints and descriptors, by the same split."""

from __future__ import annotations

import sys

import numpy as np
from omnitok_molecule.datasets import Esol
from rdkit import Chem
from rdkit.Chem import Descriptors, rdFingerprintGenerator
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)


def fingerprints(smiles: str) -> np.ndarray:
    return MORGAN.GetCountFingerprintAsNumPy(Chem.MolFromSmiles(smiles)).astype(np.float64)


def descriptors(smiles: str) -> np.ndarray:
    return np.nan_to_num(list(Descriptors.CalcMolDescriptors(Chem.MolFromSmiles(smiles)).values())).clip(-1e6, 1e6)


def main(division: str = "scaffold") -> None:
    data = Esol(division=division)
    train, held_out = data.split("train"), {part: data.split(part) for part in ("eval", "test")}
    target = {part: np.array([s["target"] for s in rows]) for part, rows in (("train", train), *held_out.items())}
    rmse = {part: np.sqrt(((target[part] - target["train"].mean()) ** 2).mean()) for part in held_out}
    print(f"{division}: mean of the training set: RMSE eval {rmse['eval']:.3f}, test {rmse['test']:.3f}")
    for features in (fingerprints, descriptors):
        x = {part: np.stack([features(s["molecule"]) for s in rows]) for part, rows in (("train", train), *held_out.items())}
        for model in (
            make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 25))),
            RandomForestRegressor(300, random_state=0),
        ):
            fitted = model.fit(x["train"], target["train"])
            rmse = {part: np.sqrt(((fitted.predict(x[part]) - target[part]) ** 2).mean()) for part in held_out}
            name = "ridge" if hasattr(model, "steps") else "random forest"
            print(f"{division}: {name} on {features.__name__}: RMSE eval {rmse['eval']:.3f}, test {rmse['test']:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
