"""Gradient boosting, a round at a time: an ordinary script that knows nothing of Trialyard."""

import argparse

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", type=float, default=0.1)
parser.add_argument("--max-leaf-nodes", type=int, default=31)
parser.add_argument("--rounds", type=int, default=15)
arguments = parser.parse_args()

x, x_val, y, y_val = train_test_split(*load_breast_cancer(return_X_y=True), test_size=0.3, random_state=0)
model = HistGradientBoostingClassifier(
    learning_rate=arguments.learning_rate, max_leaf_nodes=arguments.max_leaf_nodes, warm_start=True, random_state=0
)
for number in range(1, arguments.rounds + 1):
    model.set_params(max_iter=4 * number).fit(x, y)
    print(f"round {number} of {arguments.rounds}: val/accuracy {model.score(x_val, y_val):.4f}")
