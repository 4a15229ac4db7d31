"""A random forest: no steps, one result."""

import argparse
import json

from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import cross_val_score

parser = argparse.ArgumentParser()
parser.add_argument("--n_estimators", type=int, default=100)
parser.add_argument("--max_depth", type=int, default=8)
parser.add_argument("--max_features", type=float, default=1.0)
arguments = parser.parse_args()

forest = RandomForestRegressor(**vars(arguments), random_state=0)
scores = cross_val_score(forest, *load_diabetes(return_X_y=True), cv=3)
print("r2 of each fold:", scores)
print(json.dumps({"r2": scores.mean(), "r2/worst": scores.min()}))
